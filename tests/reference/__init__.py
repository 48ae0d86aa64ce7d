"""Plain references that the tests hold the package against: dense, in float64, written from the papers."""
