-- Whether its workspace was lost and is being filled anew, from what it was made with and what was kept of its work.
ALTER TABLE session ADD COLUMN filling INTEGER NOT NULL DEFAULT 0;
