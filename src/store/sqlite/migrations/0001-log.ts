/** The tables of one context, version 1. `p` is their prefix, `pabal_<context>_`. */

export const log = (p: string): string => `
-- AUTOINCREMENT: a position is never used again, even when retention has emptied the table. Gapless under rollback, since
-- the counter rolls back too and there is one writer at a time (P2).
CREATE TABLE ${p}event (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  key TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  type TEXT NOT NULL,
  version INTEGER NOT NULL,
  data TEXT NOT NULL,
  metadata TEXT,
  correlation_id TEXT,
  causation_id TEXT,
  hops INTEGER NOT NULL,
  traceparent TEXT,
  slot INTEGER NOT NULL,
  time_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ${p}event_key ON ${p}event (key, sequence);
CREATE UNIQUE INDEX ${p}event_id ON ${p}event (id, key);
CREATE INDEX ${p}event_correlation ON ${p}event (correlation_id) WHERE correlation_id IS NOT NULL;

CREATE TABLE ${p}event_type (type TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (type, version)) STRICT, WITHOUT ROWID;

-- Only of keys from which retention has dropped events: where their sequence stood, and where each type's did.
CREATE TABLE ${p}key_head (key TEXT PRIMARY KEY, sequence INTEGER NOT NULL, types TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}consumer (
  name TEXT PRIMARY KEY,
  effects TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'active',
  reason TEXT,
  lanes INTEGER NOT NULL,
  types TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  skipped INTEGER NOT NULL DEFAULT 0,
  breaker_until_ms INTEGER,
  breaker_error TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}cursor (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  lane INTEGER NOT NULL,
  position INTEGER NOT NULL,
  start_position INTEGER NOT NULL,
  event_id TEXT,
  incarnation TEXT NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  owner TEXT,
  until_ms INTEGER NOT NULL DEFAULT 0,
  stalls INTEGER NOT NULL DEFAULT 0,
  late INTEGER NOT NULL,
  wisher TEXT,
  wish_until_ms INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (consumer, source, lane)
) STRICT, WITHOUT ROWID;

-- What versions of a handler want of a source, in the order in which they came, and the processes that run them.
CREATE TABLE ${p}edition (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  number INTEGER NOT NULL,
  wants TEXT NOT NULL,
  PRIMARY KEY (consumer, source, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE ${p}member (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  owner TEXT NOT NULL,
  edition INTEGER NOT NULL,
  PRIMARY KEY (consumer, source, owner)
) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}inbox (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  stream TEXT NOT NULL,
  key TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  PRIMARY KEY (consumer, source, stream, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}early (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  stream TEXT NOT NULL,
  key TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  text TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (consumer, source, stream, key, sequence, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}parked (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  lane INTEGER NOT NULL,
  status TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  position INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  type TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  next_ms INTEGER NOT NULL,
  error TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  first_failed_ms INTEGER NOT NULL,
  last_failed_ms INTEGER NOT NULL,
  waiting INTEGER NOT NULL DEFAULT 0,
  edited TEXT,
  PRIMARY KEY (consumer, source, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX ${p}parked_due ON ${p}parked (consumer, source, next_ms) WHERE status = 'retrying';

CREATE TABLE ${p}skipped (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  key TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  type TEXT NOT NULL,
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (consumer, source, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}unit (key TEXT PRIMARY KEY, what TEXT NOT NULL, result TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX ${p}unit_at ON ${p}unit (at_ms);

CREATE TABLE ${p}reader (name TEXT PRIMARY KEY, position INTEGER NOT NULL, seen_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE ${p}timer (
  id TEXT PRIMARY KEY,
  due_ms INTEGER NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  payload TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ${p}timer_due ON ${p}timer (owner, due_ms);
`
