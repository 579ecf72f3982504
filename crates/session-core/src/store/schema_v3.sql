-- Until when a session's lease holds.
ALTER TABLE session ADD COLUMN lease_until INTEGER;
-- What its timers had counted when they were saved, as their keeper writes it; of sessions with a limit alone.
ALTER TABLE session ADD COLUMN timers TEXT;
-- Why it ends by itself, from the moment at which that was decided.
ALTER TABLE session ADD COLUMN expiry TEXT;
-- The engine's own id of its container, under whatever name.
ALTER TABLE session ADD COLUMN container_id TEXT;
-- How often it was tried to bring the session back since it was well, and when it may be tried again.
ALTER TABLE session ADD COLUMN recovery_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN recovery_after INTEGER;
-- Whether its workspace was lost and is being filled anew, from what it was made with and what was kept of its work.
ALTER TABLE session ADD COLUMN filling INTEGER NOT NULL DEFAULT 0;
-- The start of its container in which runs what is recorded of the session: a later one knows nothing of it.
ALTER TABLE session ADD COLUMN boot_id TEXT;
-- Its record could not be read; why is in the table of that name. Nothing is done with it any more.
ALTER TABLE session ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;

-- The same of a turn: its key is still taken.
ALTER TABLE turn ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
DROP INDEX turn_running;
CREATE UNIQUE INDEX turn_running ON turn (session) WHERE status = 'running' AND quarantined = 0;

CREATE TABLE checkpoint (
    pk INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session (pk),
    id TEXT NOT NULL UNIQUE,
    turn TEXT,
    cause TEXT NOT NULL,
    at INTEGER NOT NULL,
    base TEXT NOT NULL,
    -- Names the file with its content, which several may share.
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    files INTEGER NOT NULL,
    -- When its session was first seen to have ended, in milliseconds of the time that counts how long work is kept.
    ended_ms INTEGER,
    -- As of a session: its content is still wanted.
    quarantined INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX checkpoint_of_session ON checkpoint (session, pk);
CREATE INDEX checkpoint_by_content ON checkpoint (sha256);

-- One line for each change and each refusal. Only ever appended to.
CREATE TABLE audit (
    -- From 1, without gaps.
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- The id: a line outlives whatever it tells of.
    session TEXT,
    decision TEXT NOT NULL,
    rule TEXT,
    detail TEXT,
    -- SHA-256 over the hash before and this line.
    hash TEXT NOT NULL
) STRICT;

CREATE INDEX audit_of_session ON audit (session, seq) WHERE session IS NOT NULL;

-- Records that could not be read, as they were.
CREATE TABLE quarantine (
    pk INTEGER PRIMARY KEY,
    -- The table and the key of the row.
    source TEXT NOT NULL,
    source_pk INTEGER NOT NULL,
    -- As its row says, whatever that is.
    session TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- The row, a JSON object.
    record TEXT NOT NULL
) STRICT;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Commands and terminals of living sessions that were asked for with a key. Each kind has keys of its own.
CREATE TABLE command (
    pk INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session (pk),
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- The number of the event that tells of it.
    first_event INTEGER NOT NULL,
    -- Whether it is known to have been started, and to have ended.
    started INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    terminal INTEGER NOT NULL DEFAULT 0,
    UNIQUE (session, key, terminal)
) STRICT;

CREATE UNIQUE INDEX command_by_id ON command (id);
