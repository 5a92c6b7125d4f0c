-- Version 2. A ban by a single event tells which port that hit, and what commands and files have done about a ban stands
-- beside it, so that it is neither done twice nor forgotten when the ban ends.

CREATE TABLE bans_2 (
    prefix TEXT NOT NULL PRIMARY KEY,
    id     INTEGER NOT NULL,
    cause  TEXT NOT NULL CHECK (cause IN ('scan', 'probe', 'operator', 'found in force')),
    scan   INTEGER CHECK ((cause = 'scan') = (scan IS NOT NULL)),
    target TEXT CHECK ((cause = 'probe') = (target IS NOT NULL)),
    why    TEXT NOT NULL DEFAULT '',
    since  INTEGER NOT NULL,
    until  ANY NOT NULL CHECK (until = 'ever' OR typeof(until) = 'integer'),
    length ANY NOT NULL CHECK (length = 'ever' OR typeof(length) = 'integer'),
    times  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO bans_2 (prefix, id, cause, scan, why, since, until, length, times)
    SELECT prefix, id, cause, scan, why, since, until, length, times FROM bans;
DROP TABLE bans;
ALTER TABLE bans_2 RENAME TO bans;

-- `boot` is the kernel's name of the boot in which `route` was run: what it changed is gone after another one.
CREATE TABLE effects (
    prefix     TEXT NOT NULL PRIMARY KEY,
    hosts_deny TEXT,
    route      TEXT,
    boot       TEXT CHECK ((route IS NULL) = (boot IS NULL)),
    has_run    INTEGER NOT NULL CHECK (has_run IN (0, 1))
) STRICT, WITHOUT ROWID;
