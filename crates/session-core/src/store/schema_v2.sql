-- What was used of the model: by each session in its whole life, and by all of them on each day.
CREATE TABLE spending (
    session INTEGER PRIMARY KEY REFERENCES session (pk),
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_creation_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    model_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE spending_of_day (
    -- Days since 1970-01-01, UTC.
    day INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_creation_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    model_ms INTEGER NOT NULL
) STRICT;

-- What people decided about hosts. One row for each rule, the newest; in the order in which they were given.
CREATE TABLE egress_decision (
    pk INTEGER PRIMARY KEY,
    -- NULL: for all sessions.
    session INTEGER REFERENCES session (pk),
    rule TEXT NOT NULL,
    allow INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX egress_decision_of_session ON egress_decision (session, rule) WHERE session IS NOT NULL;
CREATE UNIQUE INDEX egress_decision_of_all ON egress_decision (rule) WHERE session IS NULL;

-- Hosts that sessions were denied and about which nobody has decided yet.
CREATE TABLE egress_request (
    session INTEGER NOT NULL REFERENCES session (pk),
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (session, host, port)
) STRICT, WITHOUT ROWID;

CREATE INDEX egress_request_by_age ON egress_request (session, last_at);
