"""Demo data: OpenMoji drawings composed into small pictures whose captions a person could have written."""
