-- Files that people give: photos of doctors, and the documents of a verification. Their contents lie in the object store.

CREATE TABLE documents (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users,
    purpose text NOT NULL CHECK (purpose IN ('photo', 'verification')),
    content_type text NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    sha256 bytea NOT NULL,
    key text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
COMMENT ON COLUMN documents.size IS 'in bytes, of the plain content';
COMMENT ON COLUMN documents.sha256 IS 'of the object as it lies in the store; documents of a verification are sealed there';
COMMENT ON COLUMN documents.key IS 'where the object lies; each upload has a key of its own, and no key is written twice';
COMMENT ON COLUMN documents.deleted_at IS 'nobody sees it since then; object and row go when its lifetime is over';
CREATE INDEX documents_by_owner ON documents (owner_id, purpose, id);
CREATE INDEX documents_deleted ON documents (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX documents_one_photo ON documents (owner_id) WHERE purpose = 'photo' AND deleted_at IS NULL;

-- No doctor has a photo yet, so nothing is read to check it.
ALTER TABLE doctors ADD COLUMN photo_id uuid;
ALTER TABLE doctors ADD CONSTRAINT doctors_photo FOREIGN KEY (photo_id) REFERENCES documents (id) NOT VALID;
-- The other side of that: a document that goes is looked up here. Edits of profiles wait while it is built.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX doctors_by_photo ON doctors (photo_id) WHERE photo_id IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON documents TO amrutam_app;
