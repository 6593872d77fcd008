"""`ordertrail fields`: try the field map of a courier by settings."""
