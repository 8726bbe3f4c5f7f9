/** The tables and functions of one context, version 1, in a schema of their own. */

import { foreignIdFirst } from '../../../event/foreign-id.ts'
import type { SchemaName } from '../migrate.ts'
import { defaultSizes, type PartitionSizes, partitions } from './partitions.ts'

/** A transaction whose ids may be further back than so many others is looked for by itself, not on the way. */
const stragglerIds = 20_000

/** What a reader has seen is at its place after a crash too, whatever was set to answer COMMIT before it is durable. */
const lasting = `IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;`

/** Other sizes of partitions are for tests. */
export const log = (schema: SchemaName, sizes: PartitionSizes = defaultSizes): string =>
  logOf(schema) + partitions(schema, sizes)

const logOf = ({ name, sql: s }: SchemaName): string => `
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

-- Written by business transactions, and never changed. \`xid\` is the transaction's own id (xid8), also inside of savepoints; as a
-- number, because no summary can be made of an xid8.
CREATE TABLE ${s}.event (
  id bigint NOT NULL,
  xid bigint NOT NULL,
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
CREATE INDEX event_key ON ${s}.event (key, sequence);
CREATE INDEX event_correlation ON ${s}.event (correlation_id) WHERE correlation_id IS NOT NULL;
-- Both grow with time: ids are UUIDv7, transactions are counted. A summary of each few pages finds what is asked for now and
-- then, and costs an append next to nothing.
CREATE INDEX event_event_id ON ${s}.event USING brin (event_id) WITH (pages_per_range = 16, autosummarize = on)
  WHERE event_id < '${foreignIdFirst}';
CREATE INDEX event_xid ON ${s}.event USING brin (xid) WITH (pages_per_range = 16, autosummarize = on);
-- Ids of foreign producers' events are in no order, and one is looked for whenever one comes.
CREATE INDEX event_foreign_id ON ${s}.event (event_id) WHERE event_id >= '${foreignIdFirst}';

-- The key's lock and counter: the row is locked until the transaction that appends has ended. Kept for ever.
CREATE TABLE ${s}.key_head (key text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL) WITH (fillfactor = 70);

-- Where retention has dropped events: the last dropped sequence of each type of a key.
CREATE TABLE ${s}.key_dropped (
  key text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, sequence bigint NOT NULL, PRIMARY KEY (key, type)
);

-- The places of committed events, gapless from 1 (P2), as runs: the event with id + n has the position + n. Written by the tick
-- alone; what every reader reads.
CREATE TABLE ${s}.run (
  position bigint NOT NULL,
  id bigint NOT NULL,
  events integer NOT NULL,
  PRIMARY KEY (position)
) PARTITION BY RANGE (position);
CREATE INDEX run_id ON ${s}.run (id);

-- How far the tick has come; the row with the highest n. Rows are added and never changed, so that a snapshot that somebody
-- holds open for an hour costs nothing here.
CREATE TABLE ${s}.sequencer (
  n bigint PRIMARY KEY,
  head bigint NOT NULL,
  -- Every transaction that has ended for this snapshot is numbered.
  done pg_snapshot NOT NULL,
  -- Ids of transactions that it does not know of are after this …
  mark bigint NOT NULL,
  -- … and those of transactions whose own id is higher than that of the one that wrote this row, after this.
  next_mark bigint NOT NULL,
  -- Those that were open, and after which id each one's may be.
  open xid8[] NOT NULL,
  open_marks bigint[] NOT NULL,
  -- A difference that is numbered in parts: up to which snapshot, its mark, and the last id so far.
  target pg_snapshot,
  target_mark bigint,
  last_id bigint,
  -- Ids up to here were numbered by a resync, whatever their transaction ids say.
  floor bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
INSERT INTO ${s}.sequencer (n, head, done, mark, next_mark, open, open_marks, floor)
SELECT 1, 0, snapshot, 0, 0, xids, array_fill(0::bigint, ARRAY[cardinality(xids)]), 0
FROM pg_current_snapshot() AS snapshot, LATERAL (SELECT ARRAY(SELECT pg_snapshot_xip(snapshot)) AS xids) x;

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
  wisher text,
  wish_until_ms bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (consumer, source, lane)
) WITH (fillfactor = 50);

-- What versions of a handler want of a source, in the order in which they came, and the processes that run them.
CREATE TABLE ${s}.edition (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  number integer NOT NULL,
  wants text NOT NULL,
  PRIMARY KEY (consumer, source, number)
);
CREATE TABLE ${s}.member (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  edition integer NOT NULL,
  at_ms bigint NOT NULL,
  -- Since when its connection is seen to be gone.
  gone_ms bigint,
  PRIMARY KEY (consumer, source, owner)
);

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

CREATE TABLE ${s}.early (
  consumer text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  stream text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL,
  reason text NOT NULL,
  text text NOT NULL,
  since_ms bigint NOT NULL,
  PRIMARY KEY (consumer, source, stream, key, sequence, event_id)
);

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

-- The last id that was taken: whoever takes one later gets a higher one.
CREATE FUNCTION ${s}.last_id() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(pg_sequence_last_value('${s}.event_id'), 0)
$$;

-- Events of transactions that were open for long: their ids may be far back, so they are found by their transactions.
CREATE FUNCTION ${s}.ids_of(xids xid8[], after bigint) RETURNS SETOF bigint LANGUAGE plpgsql
  SET enable_seqscan = off SET jit = off
AS $$
BEGIN
  RETURN QUERY SELECT e.id FROM ${s}.event e WHERE e.xid = ANY (xids::text[]::bigint[]) AND e.id > after;
END $$;

-- Gives positions to what was committed since the last tick, at most \`most\` events. Returns how many; \`most\` means that there
-- may be more, -1 that somebody else is at it. Complete and once: a transaction that has ended is in exactly one difference of
-- successive snapshots. In order: ids are taken under the lock of the key, and a lock is given free after its transaction has
-- left the running ones, so whatever snapshot shows the second of a key shows the first. Marks bound where to look: events take
-- ids after their transaction has its own, so those of transactions younger than a tick's have ids after the last one before it.
-- A snapshot does not tell which transactions beyond its end are running; all of them are younger than the tick before it.
CREATE FUNCTION ${s}.tick(most integer DEFAULT 20000) RETURNS bigint LANGUAGE plpgsql
  SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  st ${s}.sequencer;
  upto pg_snapshot;
  upto_mark bigint;
  fresh_mark bigint;
  low bigint;
  done_end bigint;
  upto_end bigint;
  ended xid8[] := '{}';
  ended_ids bigint[];
  long_ended xid8[] := '{}';
  long_low bigint;
  now_open xid8[] := '{}';
  now_marks bigint[] := '{}';
  ids bigint[];
  counted integer;
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
    upto_mark := st.next_mark;
    upto := pg_current_snapshot();
    IF pg_snapshot_xmax(upto) < pg_snapshot_xmax(st.done) THEN
      RAISE EXCEPTION 'transaction ids went back from % to %: this is another server than before', pg_snapshot_xmax(st.done), pg_snapshot_xmax(upto)
        USING ERRCODE = 'PB001';
    END IF;
    IF upto::text = st.done::text THEN
      RETURN 0;
    END IF;
    low := st.mark;
    FOR i IN 1 .. cardinality(st.open) LOOP
      IF pg_visible_in_snapshot(st.open[i], upto) THEN
        IF st.open_marks[i] < st.mark - ${stragglerIds} THEN
          long_ended := long_ended || st.open[i];
          long_low := least(long_low, st.open_marks[i]);
        ELSE
          ended := ended || st.open[i];
          low := least(low, st.open_marks[i]);
        END IF;
      END IF;
    END LOOP;
  ELSE
    -- A part of a long difference: on from the last id, so that each part reads only itself.
    upto := st.target;
    upto_mark := st.target_mark;
    low := st.last_id;
    ended := st.open;
  END IF;
  low := greatest(low, st.floor);
  done_end := pg_snapshot_xmax(st.done)::text;
  upto_end := pg_snapshot_xmax(upto)::text;
  ended_ids := ended::text[];
  -- After the snapshot: ids of whoever it shows are not above. Before this transaction has an id: those of whoever gets a higher
  -- one are above.
  fresh_mark := coalesce(pg_sequence_last_value('${s}.event_id'), 0);
  ids := ARRAY(
    SELECT e.id FROM ${s}.event e
    WHERE e.id > low AND e.id <= fresh_mark
      AND ((e.xid >= done_end AND e.xid < upto_end) OR e.xid = ANY (ended_ids))
      AND pg_visible_in_snapshot(e.xid::text::xid8, upto)
    ORDER BY e.id LIMIT most
  );
  IF cardinality(long_ended) > 0 THEN
    ids := ARRAY(
      SELECT i FROM (SELECT unnest(ids) UNION SELECT ${s}.ids_of(long_ended, greatest(long_low, st.floor))) AS found (i)
      ORDER BY i LIMIT most
    );
  END IF;
  counted := cardinality(ids);
  -- Nothing to say: the next difference begins where this one did, unless much is under way that need not be looked at again.
  IF counted = 0 AND st.target IS NULL AND fresh_mark - st.mark < ${stragglerIds / 20} THEN
    RETURN 0;
  END IF;
  IF counted > 0 THEN
    ${lasting}
    IF ids[counted] - ids[1] < counted THEN
      INSERT INTO ${s}.run (position, id, events) VALUES (st.head + 1, ids[1], counted);
    ELSE
      INSERT INTO ${s}.run (position, id, events)
      SELECT st.head + min(n), min(id), count(*) FROM unnest(ids) WITH ORDINALITY AS i (id, n) GROUP BY id - n ORDER BY min(n);
    END IF;
    PERFORM pg_notify('pabal', '${name}');
  END IF;
  IF counted < most THEN
    IF pg_snapshot_xmin(upto) < pg_snapshot_xmax(upto) THEN
      SELECT coalesce(array_agg(x), '{}'), coalesce(array_agg(coalesce(st.open_marks[array_position(st.open, x)], st.mark)), '{}')
      INTO now_open, now_marks FROM pg_snapshot_xip(upto) x;
    END IF;
    INSERT INTO ${s}.sequencer (n, head, done, mark, next_mark, open, open_marks, floor)
    VALUES (st.n + 1, st.head + counted, upto, upto_mark, fresh_mark, now_open, now_marks, st.floor);
  ELSE
    INSERT INTO ${s}.sequencer (n, head, done, mark, next_mark, open, open_marks, target, target_mark, last_id, floor)
    VALUES (st.n + 1, st.head + counted, st.done, st.mark, fresh_mark, st.open, st.open_marks, upto, upto_mark, ids[counted], st.floor);
  END IF;
  IF st.n % 16 = 0 THEN
    DELETE FROM ${s}.sequencer WHERE n > st.n - 100 AND n < st.n - 10;
  END IF;
  -- The last part of a difference says nothing of what was committed since that began.
  RETURN CASE WHEN st.target IS NULL THEN counted ELSE most END;
END $$;

-- For a log that has come to another server, where transaction ids mean something else: numbers all that has no position, by
-- id, and begins a new incarnation. No append is under way meanwhile.
CREATE FUNCTION ${s}.resync(new_incarnation text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  st ${s}.sequencer;
  ids bigint[];
  top bigint;
BEGIN
  LOCK TABLE ${s}.event IN SHARE MODE;
  PERFORM pg_advisory_xact_lock(${s}.tick_lock());
  SELECT * INTO STRICT st FROM ${s}.sequencer ORDER BY n DESC LIMIT 1;
  SELECT coalesce(max(id), 0) INTO top FROM ${s}.event;
  IF ${s}.last_id() < top THEN
    PERFORM setval('${s}.event_id', top);
  END IF;
  PERFORM ${s}.create_partitions();
  ids := ARRAY(
    SELECT e.id FROM ${s}.event e WHERE NOT EXISTS (
      SELECT 1 FROM (SELECT r.id, r.events FROM ${s}.run r WHERE r.id <= e.id ORDER BY r.id DESC LIMIT 1) r WHERE e.id < r.id + r.events
    ) ORDER BY e.id
  );
  ${lasting}
  INSERT INTO ${s}.run (position, id, events)
  SELECT st.head + min(n), min(id), count(*) FROM unnest(ids) WITH ORDINALITY AS i (id, n) GROUP BY id - n ORDER BY min(n);
  DELETE FROM ${s}.sequencer;
  INSERT INTO ${s}.sequencer (n, head, done, mark, next_mark, open, open_marks, floor)
  SELECT st.n + 1, st.head + cardinality(ids), snapshot, ${s}.last_id(), ${s}.last_id(), xids, array_fill(${s}.last_id(), ARRAY[cardinality(xids)]), ${s}.last_id()
  FROM pg_current_snapshot() AS snapshot, LATERAL (SELECT ARRAY(SELECT pg_snapshot_xip(snapshot)) AS xids) x;
  -- Nobody who was open then is here.
  UPDATE ${s}.closed_partition SET through = st.head + cardinality(ids) WHERE through IS NULL;
  -- Whoever asked may have given up waiting: it is done, and not to be done again.
  UPDATE ${s}.meta SET incarnation = new_incarnation, system_identifier = c.system_identifier::text,
    timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system() c;
  RETURN cardinality(ids);
END $$;
`
