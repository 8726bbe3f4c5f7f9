/** The tables and functions of one context, version 1, in a schema of their own. */

import type { SchemaName } from '../migrate.ts'

/** Ids of one partition of events, positions of one partition of positions, and how many are kept ahead of the last. */
const partition = { events: 5_000_000, positions: 10_000_000, ahead: 3 }

export const log = ({ name, sql: s }: SchemaName): string => `
CREATE TABLE ${s}.migration (version integer PRIMARY KEY, name text NOT NULL, at_ms bigint NOT NULL);

-- One row. What the log is a log of: it changes when the log may have become another (restored, promoted, moved).
CREATE TABLE ${s}.meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  incarnation text NOT NULL,
  system_identifier text NOT NULL,
  timeline text NOT NULL,
  -- Positions up to here were dropped by retention.
  dropped bigint NOT NULL DEFAULT 0
);
INSERT INTO ${s}.meta (incarnation, system_identifier, timeline) VALUES ('', '', '');

-- Taken under the lock of the key (P3), so never cached by a session.
CREATE SEQUENCE ${s}.event_id AS bigint CACHE 1;

-- Written by business transactions, and never changed. \`xid\` is the transaction's own id, also inside of savepoints.
CREATE TABLE ${s}.event (
  id bigint NOT NULL,
  xid xid8 NOT NULL,
  event_id uuid NOT NULL,
  key text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  slot smallint NOT NULL,
  type text COLLATE "C" NOT NULL,
  version integer NOT NULL,
  data text NOT NULL,
  metadata text,
  correlation_id text COLLATE "C",
  causation_id text COLLATE "C",
  hops integer NOT NULL,
  traceparent text,
  time_ms bigint NOT NULL,
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX event_xid ON ${s}.event (xid, id);
CREATE INDEX event_key ON ${s}.event (key, sequence);
CREATE INDEX event_event_id ON ${s}.event (event_id);
CREATE INDEX event_correlation ON ${s}.event (correlation_id) WHERE correlation_id IS NOT NULL;

-- The key's lock and counter: the row is locked until the transaction that appends has ended. Kept for ever.
CREATE TABLE ${s}.key_head (key text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL) WITH (fillfactor = 70);

-- Where retention has dropped events: the last dropped sequence of each type of a key.
CREATE TABLE ${s}.key_dropped (
  key text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, sequence bigint NOT NULL, PRIMARY KEY (key, type)
);

-- The place of each committed event, gapless from 1 (P2). Written by the tick alone; what every reader reads.
CREATE TABLE ${s}.position (
  position bigint NOT NULL,
  id bigint NOT NULL,
  slot smallint NOT NULL,
  PRIMARY KEY (position)
) PARTITION BY RANGE (position);
CREATE INDEX position_id ON ${s}.position (id);

-- How far the tick has come; the row with the highest n. Rows are added and never changed, so that a snapshot that somebody
-- holds open for an hour costs nothing here.
CREATE TABLE ${s}.sequencer (
  n bigint PRIMARY KEY,
  head bigint NOT NULL,
  -- Every transaction that has ended for this snapshot is numbered.
  done pg_snapshot NOT NULL,
  -- A difference that is numbered in parts: up to which snapshot, and the last id so far.
  target pg_snapshot,
  last_id bigint,
  -- Ids up to here were numbered by a resync, whatever their transaction ids say.
  floor bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
INSERT INTO ${s}.sequencer (n, head, done, floor) VALUES (1, 0, pg_current_snapshot(), 0);

CREATE TABLE ${s}.event_type (type text COLLATE "C" NOT NULL, version integer NOT NULL, PRIMARY KEY (type, version));

CREATE TABLE ${s}.consumer (
  name text COLLATE "C" PRIMARY KEY,
  effects text NOT NULL,
  state text NOT NULL DEFAULT 'active',
  reason text,
  lanes integer NOT NULL,
  types text NOT NULL,
  created_ms bigint NOT NULL,
  skipped bigint NOT NULL DEFAULT 0,
  breaker_until_ms bigint,
  breaker_error text
);

CREATE TABLE ${s}.cursor (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  lane integer NOT NULL,
  position bigint NOT NULL,
  start_position bigint NOT NULL,
  event_id text,
  incarnation text NOT NULL,
  epoch bigint NOT NULL DEFAULT 0,
  owner text,
  until_ms bigint NOT NULL DEFAULT 0,
  stalls integer NOT NULL DEFAULT 0,
  late bigint NOT NULL,
  PRIMARY KEY (consumer, source, lane)
) WITH (fillfactor = 50);

CREATE TABLE ${s}.inbox (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  stream text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL,
  incarnation text NOT NULL,
  PRIMARY KEY (consumer, source, stream, key)
) WITH (fillfactor = 70);

CREATE TABLE ${s}.parked (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  lane integer NOT NULL,
  status text NOT NULL,
  sequence bigint NOT NULL,
  position bigint NOT NULL,
  event_id text NOT NULL,
  type text NOT NULL,
  attempts integer NOT NULL,
  next_ms bigint NOT NULL,
  error text NOT NULL,
  fingerprint text NOT NULL,
  first_failed_ms bigint NOT NULL,
  last_failed_ms bigint NOT NULL,
  waiting bigint NOT NULL DEFAULT 0,
  edited text,
  PRIMARY KEY (consumer, source, key)
);
CREATE INDEX parked_due ON ${s}.parked (consumer, source, next_ms) WHERE status = 'retrying';

CREATE TABLE ${s}.skipped (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  key text NOT NULL,
  sequence bigint NOT NULL,
  type text NOT NULL,
  reason text NOT NULL,
  by text NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY (consumer, source, event_id)
);

CREATE TABLE ${s}.unit (key text COLLATE "C" PRIMARY KEY, what text NOT NULL, result text NOT NULL, at_ms bigint NOT NULL);
CREATE INDEX unit_at ON ${s}.unit (at_ms);

CREATE TABLE ${s}.reader (name text COLLATE "C" PRIMARY KEY, position bigint NOT NULL, seen_ms bigint NOT NULL);

CREATE TABLE ${s}.timer (
  id text COLLATE "C" PRIMARY KEY,
  due_ms bigint NOT NULL,
  owner text COLLATE "C" NOT NULL,
  key text NOT NULL,
  payload text NOT NULL
);
CREATE INDEX timer_due ON ${s}.timer (owner, due_ms);

-- Refuses an append that expected another sequence; in a statement of its own an error, so that nothing else commits.
CREATE FUNCTION ${s}.expect(key text, expected bigint, actual bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF expected IS NOT NULL AND expected <> actual THEN
    RAISE EXCEPTION 'another sequence was expected' USING ERRCODE = 'PB002',
      DETAIL = json_build_object('key', key, 'expected', expected, 'actual', actual)::text;
  END IF;
  RETURN true;
END $$;

-- The name of the one who may tick; transaction-level, so that it works behind a pooler.
CREATE FUNCTION ${s}.tick_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('pabal tick ' || '${name}', 0) $$;

-- Gives positions to what was committed since the last tick, at most \`most\` events. Returns how many; \`most\` means that there
-- may be more, -1 that somebody else is at it. Complete and once: a transaction that has ended is in exactly one difference of
-- successive snapshots. In order: ids are taken under the lock of the key, and a lock is given free after its transaction has
-- left the running ones, so whatever snapshot shows the second of a key shows the first.
CREATE FUNCTION ${s}.tick(most integer DEFAULT 20000) RETURNS bigint LANGUAGE plpgsql
  SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  st ${s}.sequencer;
  upto pg_snapshot;
  stragglers xid8[];
  counted bigint;
  last bigint;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'only the primary ticks' USING ERRCODE = '25006';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a tick needs read committed' USING ERRCODE = '25001';
  END IF;
  -- Its own id comes after the snapshot, so that a crash, after which ids that were never written are given again, gives none
  -- that the stored snapshot counts as ended.
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    RAISE EXCEPTION 'a tick needs a transaction that has written nothing' USING ERRCODE = '25001';
  END IF;
  IF NOT pg_try_advisory_xact_lock(${s}.tick_lock()) THEN
    RETURN -1;
  END IF;
  -- A statement of its own, so that it sees what the last holder of the lock has committed.
  SELECT * INTO STRICT st FROM ${s}.sequencer ORDER BY n DESC LIMIT 1;
  IF st.target IS NULL THEN
    upto := pg_current_snapshot();
    IF pg_snapshot_xmax(upto) < pg_snapshot_xmax(st.done) THEN
      RAISE EXCEPTION 'transaction ids went back from % to %: this is another server than before', pg_snapshot_xmax(st.done), pg_snapshot_xmax(upto)
        USING ERRCODE = 'PB001';
    END IF;
    IF upto::text = st.done::text THEN
      RETURN 0;
    END IF;
  ELSE
    upto := st.target;
  END IF;
  stragglers := ARRAY(SELECT pg_snapshot_xip(st.done));
  IF st.last_id IS NULL THEN
    INSERT INTO ${s}.position (position, id, slot)
    SELECT st.head + row_number() OVER (ORDER BY c.id), c.id, c.slot FROM (
      SELECT d.id, d.slot FROM (
        SELECT e.id, e.slot, e.xid FROM ${s}.event e
        WHERE e.xid >= pg_snapshot_xmax(st.done) AND e.xid < pg_snapshot_xmax(upto) AND e.id > st.floor
        UNION ALL
        SELECT e.id, e.slot, e.xid FROM ${s}.event e WHERE e.xid = ANY (stragglers) AND e.id > st.floor
      ) d
      WHERE pg_visible_in_snapshot(d.xid, upto)
      ORDER BY d.id LIMIT most
    ) c;
  ELSE
    -- A part of a long difference: on from the last id, so that each part reads only itself.
    INSERT INTO ${s}.position (position, id, slot)
    SELECT st.head + row_number() OVER (ORDER BY c.id), c.id, c.slot FROM (
      SELECT e.id, e.slot FROM ${s}.event e
      WHERE e.id > greatest(st.last_id, st.floor)
        AND ((e.xid >= pg_snapshot_xmax(st.done) AND e.xid < pg_snapshot_xmax(upto)) OR e.xid = ANY (stragglers))
        AND pg_visible_in_snapshot(e.xid, upto)
      ORDER BY e.id LIMIT most
    ) c;
  END IF;
  GET DIAGNOSTICS counted = ROW_COUNT;
  -- Nothing to say: the next difference begins where this one did.
  IF counted = 0 AND st.target IS NULL THEN
    RETURN 0;
  END IF;
  IF counted < most THEN
    INSERT INTO ${s}.sequencer (n, head, done, floor) VALUES (st.n + 1, st.head + counted, upto, st.floor);
  ELSE
    SELECT p.id INTO STRICT last FROM ${s}.position p WHERE p.position = st.head + counted;
    INSERT INTO ${s}.sequencer (n, head, done, target, last_id, floor)
    VALUES (st.n + 1, st.head + counted, st.done, upto, last, st.floor);
  END IF;
  DELETE FROM ${s}.sequencer WHERE n > st.n - 40 AND n < st.n - 10;
  IF counted > 0 THEN
    PERFORM pg_notify('pabal', '${name}');
  END IF;
  RETURN counted;
END $$;

-- For a log that has come to another server, where transaction ids mean something else: numbers all that has no position, by
-- id, and begins a new incarnation. No append is under way meanwhile.
CREATE FUNCTION ${s}.resync(new_incarnation text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  st ${s}.sequencer;
  counted bigint;
  top bigint;
BEGIN
  LOCK TABLE ${s}.event IN SHARE MODE;
  PERFORM pg_advisory_xact_lock(${s}.tick_lock());
  SELECT * INTO STRICT st FROM ${s}.sequencer ORDER BY n DESC LIMIT 1;
  SELECT coalesce(max(id), 0) INTO top FROM ${s}.event;
  IF (SELECT last_value FROM ${s}.event_id) < top THEN
    PERFORM setval('${s}.event_id', top);
  END IF;
  PERFORM ${s}.create_partitions();
  INSERT INTO ${s}.position (position, id, slot)
  SELECT st.head + row_number() OVER (ORDER BY e.id), e.id, e.slot FROM ${s}.event e
  WHERE NOT EXISTS (SELECT 1 FROM ${s}.position p WHERE p.id = e.id);
  GET DIAGNOSTICS counted = ROW_COUNT;
  DELETE FROM ${s}.sequencer;
  INSERT INTO ${s}.sequencer (n, head, done, floor) VALUES (st.n + 1, st.head + counted, pg_current_snapshot(), top);
  UPDATE ${s}.meta SET incarnation = new_incarnation;
  RETURN counted;
END $$;

-- Keeps partitions ahead of the last id and the last position. Attached, not created in place: appends are not held up.
CREATE FUNCTION ${s}.create_partitions() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  made integer := 0;
  next_id bigint := (SELECT last_value FROM ${s}.event_id);
  next_position bigint := (SELECT head FROM ${s}.sequencer ORDER BY n DESC LIMIT 1);
  part text;
BEGIN
  FOR i IN next_id / ${partition.events} .. next_id / ${partition.events} + ${partition.ahead} LOOP
    part := format('event_%s', i);
    IF to_regclass(format('%I.%I', '${name}', part)) IS NULL THEN
      EXECUTE format('CREATE TABLE ${s}.%I (LIKE ${s}.event INCLUDING DEFAULTS)', part);
      EXECUTE format('ALTER TABLE ${s}.event ATTACH PARTITION ${s}.%I FOR VALUES FROM (%s) TO (%s)',
        part, i * ${partition.events}, (i + 1) * ${partition.events});
      made := made + 1;
    END IF;
  END LOOP;
  FOR i IN next_position / ${partition.positions} .. next_position / ${partition.positions} + ${partition.ahead - 1} LOOP
    part := format('position_%s', i);
    IF to_regclass(format('%I.%I', '${name}', part)) IS NULL THEN
      EXECUTE format('CREATE TABLE ${s}.%I (LIKE ${s}.position INCLUDING DEFAULTS)', part);
      EXECUTE format('ALTER TABLE ${s}.position ATTACH PARTITION ${s}.%I FOR VALUES FROM (%s) TO (%s)',
        part, i * ${partition.positions}, (i + 1) * ${partition.positions});
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;
`
