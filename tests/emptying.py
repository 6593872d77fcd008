"""A database as it was before anything was put into it.

By DELETE where there is little, since TRUNCATE makes new files for each table and each of its
indexes: for all of ours 50 to 200 ms, which was half of a run of the suite.
"""

from sqlalchemy import Connection

from receiver.db.models import Base

# Past that a table is truncated, or those who read it would go through what is dead in it.
LITTLE_BYTES = 262_144

# All are locked first: whoever still writes is waited for, as by TRUNCATE. Without the triggers of
# foreign keys, so that the tables may come in any order.
EMPTY = f"""
DO $$
DECLARE
    filled record;
BEGIN
    LOCK TABLE {", ".join(Base.metadata.tables)} IN ACCESS EXCLUSIVE MODE;
    SET LOCAL session_replication_role = replica;
    FOR filled IN
        SELECT oid::regclass AS name, pg_table_size(oid) > {LITTLE_BYTES} AS much
        FROM pg_class
        WHERE oid = ANY ('{{{", ".join(Base.metadata.tables)}}}'::regclass[])
          AND pg_relation_size(oid) > 0
    LOOP
        IF filled.much THEN
            EXECUTE 'TRUNCATE ' || filled.name || ' CASCADE';
        ELSE
            EXECUTE 'DELETE FROM ' || filled.name;
        END IF;
    END LOOP;
    PERFORM setval(seqrelid::regclass, seqstart, false)
    FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
    WHERE relnamespace = 'public'::regnamespace;
END $$
"""  # noqa: S608 (of our own tables)


def empty(connection: Connection) -> None:
    """Empty every table and begin every sequence anew; the caller commits."""
    connection.exec_driver_sql(EMPTY)
