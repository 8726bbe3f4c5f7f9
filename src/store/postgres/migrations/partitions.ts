/** How a log is kept in partitions, so that what retention has hidden goes as files and not row by row. */

import type { SchemaName } from '../migrate.ts'

export interface PartitionSizes {
  /** Ids of one partition of events. */
  readonly events: number
  /** Positions of one partition of runs. */
  readonly positions: number
  /** Partitions that are kept ahead of the last. */
  readonly ahead: number
}

export const defaultSizes: PartitionSizes = { events: 5_000_000, positions: 10_000_000, ahead: 3 }

/** Comes behind the tables. A log keeps the sizes that it was created with. */
export const partitions = ({ name, sql: s }: SchemaName, { events, positions, ahead }: PartitionSizes): string => `
-- Partitions of events that get no more of them: every id was given out, to transactions older than \`xid\`. When all of those
-- have ended, everything in the partition has its position, at \`through\` or before.
CREATE TABLE ${s}.closed_partition (number bigint PRIMARY KEY, xid xid8 NOT NULL, through bigint);

-- One process at a time creates and drops.
CREATE FUNCTION ${s}.partition_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('pabal partitions ' || '${name}', 0) $$;

-- The numbers of the partitions of a table that are there.
CREATE FUNCTION ${s}.partitions(of text) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
  SELECT substring(c.relname FROM '[0-9]+$')::bigint FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = to_regclass(format('%I.%I', '${name}', of)) AND c.relname ~ ('^' || of || '_[0-9]+$')
$$;

-- Keeps partitions ahead of the last id and the last position. Attached, not created in place: appends are not held up. As the
-- owner of the tables, so that whoever runs the app need not be.
CREATE FUNCTION ${s}.create_partitions() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made integer := 0;
  last_id bigint;
  head bigint;
  part record;
BEGIN
  PERFORM pg_advisory_xact_lock(${s}.partition_lock());
  last_id := (SELECT last_value FROM ${s}.event_id);
  head := (SELECT q.head FROM ${s}.sequencer q ORDER BY n DESC LIMIT 1);
  FOR part IN
    SELECT 'event' AS parent, n AS number, n * ${events} AS low, (n + 1) * ${events} AS high
    FROM generate_series(last_id / ${events}, last_id / ${events} + ${ahead}) n
    UNION ALL
    SELECT 'run', n, n * ${positions}, (n + 1) * ${positions}
    FROM generate_series(head / ${positions}, head / ${positions} + ${ahead - 1}) n
  LOOP
    IF to_regclass(format('%I.%I', '${name}', part.parent || '_' || part.number)) IS NULL THEN
      EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I INCLUDING DEFAULTS)', '${name}', part.parent || '_' || part.number, part.parent);
      EXECUTE format('ALTER TABLE %1$I.%3$I ATTACH PARTITION %1$I.%2$I FOR VALUES FROM (%4$s) TO (%5$s)',
        '${name}', part.parent || '_' || part.number, part.parent, part.low, part.high);
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;

-- Drops a partition, waiting for at most \`lock_ms\`: whoever reads or appends meanwhile waits behind us. So it is not even tried
-- where somebody has been in it for longer than that, such as a dump or a forgotten transaction: it would be in vain.
CREATE FUNCTION ${s}.drop_partition(of text, number bigint, lock_ms integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  parent regclass := to_regclass(format('%I.%I', '${name}', of));
  part regclass := to_regclass(format('%I.%I', '${name}', of || '_' || number));
BEGIN
  IF EXISTS (
    SELECT 1 FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.relation IN (parent, part, (SELECT reltoastrelid FROM pg_class WHERE oid = part))
      AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND (l.pid IS NULL OR a.xact_start < clock_timestamp() - make_interval(secs => lock_ms / 1000.0))
  ) THEN
    RETURN false;
  END IF;
  PERFORM set_config('lock_timeout', lock_ms::text, true);
  -- In the order of those who append and read.
  EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
  EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE NOWAIT', part);
  EXECUTE format('DROP TABLE %s', part);
  RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
  RETURN false;
END $$;

-- Drops the oldest partition of events of which retention has hidden everything, and the oldest one of runs of which no event is
-- left: events without a run would be numbered anew by a resync. Returns how many; once more when there were some.
CREATE FUNCTION ${s}.drop_partitions(lock_ms integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hidden bigint;
  oldest bigint;
  run_oldest bigint;
  ended integer := 0;
  done boolean;
BEGIN
  IF NOT pg_try_advisory_xact_lock(${s}.partition_lock()) THEN
    RETURN 0;
  END IF;
  -- An event behind it has a position. Ids are given out in order, and to transactions that have their own id by then, as the
  -- head of the key is written first: whoever may still append here is older than we are.
  INSERT INTO ${s}.closed_partition (number, xid)
  SELECT p.number, pg_current_xact_id() FROM ${s}.partitions('event') p (number)
  WHERE (p.number + 1) * ${events} <= (SELECT max(r.id) FROM ${s}.run r)
    AND NOT EXISTS (SELECT 1 FROM ${s}.closed_partition c WHERE c.number = p.number);
  UPDATE ${s}.closed_partition c SET through = q.head
  FROM (SELECT * FROM ${s}.sequencer ORDER BY n DESC LIMIT 1) q
  WHERE c.through IS NULL AND q.target IS NULL AND c.xid < pg_snapshot_xmin(q.done);

  hidden := (SELECT m.dropped FROM ${s}.meta m);
  oldest := (SELECT min(p.number) FROM ${s}.partitions('event') p (number));
  IF EXISTS (SELECT 1 FROM ${s}.closed_partition c WHERE c.number = oldest AND c.through <= hidden) THEN
    IF ${s}.drop_partition('event', oldest, lock_ms) THEN
      DELETE FROM ${s}.closed_partition c WHERE c.number = oldest;
      ended := ended + 1;
      oldest := (SELECT min(p.number) FROM ${s}.partitions('event') p (number));
    END IF;
  END IF;

  run_oldest := (SELECT min(p.number) FROM ${s}.partitions('run') p (number));
  IF (run_oldest + 1) * ${positions} <= hidden THEN
    -- A run may reach over the end of its partition.
    EXECUTE format('SELECT NOT EXISTS (SELECT 1 FROM (SELECT * FROM ${s}.run_%1$s ORDER BY position DESC LIMIT 1) r WHERE r.position + r.events - 1 > $1)
      AND NOT EXISTS (SELECT 1 FROM (SELECT * FROM ${s}.run_%1$s ORDER BY id DESC LIMIT 1) r WHERE r.id + r.events - 1 >= $2)', run_oldest)
      INTO done USING hidden, oldest * ${events};
    IF done AND ${s}.drop_partition('run', run_oldest, lock_ms) THEN
      ended := ended + 1;
    END IF;
  END IF;
  RETURN ended;
END $$;
`
