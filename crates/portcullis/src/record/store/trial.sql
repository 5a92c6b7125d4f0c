-- Version 4. A mode that was said by hand may end by itself: then the other one holds. `length` bounds what a clock that was
-- set back can make of `until`.

ALTER TABLE mode_by_hand ADD COLUMN until INTEGER;
ALTER TABLE mode_by_hand ADD COLUMN length INTEGER CHECK ((until IS NULL) = (length IS NULL));
