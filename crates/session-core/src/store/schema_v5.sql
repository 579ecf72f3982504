-- The start of its container in which runs what is recorded of the session: a later one knows nothing of it.
ALTER TABLE session ADD COLUMN boot_id TEXT;
