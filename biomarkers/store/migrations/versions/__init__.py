"""One module a revision; each stands alone and imports nothing of the schema, which moves on."""
