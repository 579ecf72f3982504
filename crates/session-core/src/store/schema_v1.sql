CREATE TABLE session (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    -- SessionInfo as it was inserted; what changes later is in the columns.
    info TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Destroyed or Failed: its history stays, and it is listed only when asked for.
    ended INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    token TEXT NOT NULL,
    request_digest TEXT,
    idempotency_key TEXT UNIQUE,
    agent_process TEXT,
    agent_offset INTEGER NOT NULL,
    agent_conversation TEXT,
    agent_stdin_key INTEGER NOT NULL,
    -- The tools that its process was started with, a JSON list.
    agent_tools TEXT NOT NULL,
    -- Counts the agent's owners: what an earlier one still wants to store is refused.
    agent_owner INTEGER NOT NULL,
    base_tree TEXT
) STRICT;

CREATE INDEX session_live ON session (pk) WHERE ended = 0;

CREATE TABLE turn (
    pk INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session (pk),
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    prompt TEXT NOT NULL,
    idempotency_key TEXT,
    -- The only tools that the agent may use, a JSON list; all of them when empty.
    tools TEXT NOT NULL,
    time_limit_ms INTEGER,
    first_event INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    outcome TEXT
) STRICT;

CREATE INDEX turn_of_session ON turn (session, pk);
CREATE INDEX turn_waiting ON turn (session, pk) WHERE status = 'queued';
-- Turns of a session run one at a time.
CREATE UNIQUE INDEX turn_running ON turn (session) WHERE status = 'running';
CREATE UNIQUE INDEX turn_by_key ON turn (session, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE event (
    session INTEGER NOT NULL REFERENCES session (pk),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    turn TEXT,
    kind TEXT NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;
