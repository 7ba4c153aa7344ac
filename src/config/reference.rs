//! How is every setting documented? The tables of `docs/configuration.md`, from the directive table.
