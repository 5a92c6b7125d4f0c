-- Version 1 of the events. Times are milliseconds since 1970-01-01T00:00:00Z. Events are numbered as they were told; 256
-- in a row are a chapter, and what is in a chapter is known from its summary, so that no index on time, port or kind is
-- needed.

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    time   INTEGER NOT NULL,
    -- The place of its name in `words.rs`, EVENTS.
    event  INTEGER NOT NULL,
    -- An address, 4 or 16 bytes; with `width` the network of that length. NULL where nobody is meant.
    source BLOB,
    width  INTEGER,
    -- What was decided of a scan or probe: its place in `words.rs`, DECISIONS, and 16 more where the scan is over.
    verdict INTEGER,
    -- Bits by `words.rs`, KINDS; NULL for none.
    kinds  INTEGER,
    -- The steps between ascending ports; NULL for none.
    ports  BLOB,
    -- The number in its `id`, `s-7f3a` or `b-7f3a`.
    id     INTEGER,
    -- The fields besides: `packed.rs`.
    body   BLOB NOT NULL
) STRICT;

CREATE INDEX by_source ON events (source) WHERE source IS NOT NULL;
CREATE INDEX by_id ON events (id) WHERE id IS NOT NULL;

CREATE TABLE chapters (
    chapter INTEGER PRIMARY KEY,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    kinds   INTEGER NOT NULL,
    -- Last, since it is seldom looked at.
    ports   BLOB NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
