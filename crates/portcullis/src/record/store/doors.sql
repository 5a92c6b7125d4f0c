-- Version 3. Openings of doors outlast a restart with the time that they have left; what a door's command still owes (its
-- stop command) is kept until it has been run, whatever happens in between; and what happened at doors can be read.

CREATE TABLE openings (
    door    TEXT NOT NULL,
    address TEXT NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    length  INTEGER NOT NULL,
    by      TEXT NOT NULL,
    user    TEXT,
    PRIMARY KEY (door, address)
) STRICT, WITHOUT ROWID;

-- `owes` is a JSON object: what is to be run, as it was configured when the door opened.
CREATE TABLE debts (
    door    TEXT NOT NULL,
    address TEXT NOT NULL,
    owes    TEXT NOT NULL,
    PRIMARY KEY (door, address)
) STRICT, WITHOUT ROWID;

-- `line` is the line of JSON that was told.
CREATE TABLE door_events (
    number INTEGER PRIMARY KEY,
    time   INTEGER NOT NULL,
    line   TEXT NOT NULL
) STRICT;

-- Packets that are used up though a start would not refuse them by their time: their sender's clock was ahead of ours.
CREATE TABLE used_packets (
    time INTEGER NOT NULL,
    mark BLOB NOT NULL,
    PRIMARY KEY (time, mark)
) STRICT, WITHOUT ROWID;
