-- Version 1. Times are milliseconds since 1970-01-01T00:00:00Z; lengths are milliseconds.
-- An end that never comes is the word 'ever', never a number and never NULL: a damaged field must not ban for ever.

CREATE TABLE bans (
    prefix TEXT NOT NULL PRIMARY KEY,
    id     INTEGER NOT NULL,
    cause  TEXT NOT NULL CHECK (cause IN ('scan', 'operator', 'found in force')),
    scan   INTEGER CHECK ((cause = 'scan') = (scan IS NOT NULL)),
    why    TEXT NOT NULL DEFAULT '',
    since  INTEGER NOT NULL,
    until  ANY NOT NULL CHECK (until = 'ever' OR typeof(until) = 'integer'),
    length ANY NOT NULL CHECK (length = 'ever' OR typeof(length) = 'integer'),
    times  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who was banned before: bans grow for a source that comes back.
CREATE TABLE past (
    prefix TEXT NOT NULL PRIMARY KEY,
    times  INTEGER NOT NULL,
    ended  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE allowances (
    prefix TEXT NOT NULL PRIMARY KEY,
    until  ANY NOT NULL CHECK (until = 'ever' OR typeof(until) = 'integer')
) STRICT, WITHOUT ROWID;

-- At most one row: what an operator said last, if it still outranks the configuration.
CREATE TABLE mode_by_hand (
    only  INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    mode  TEXT NOT NULL CHECK (mode IN ('observe', 'enforce')),
    since INTEGER NOT NULL,
    by    TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
