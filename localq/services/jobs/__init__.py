"""Long work as jobs: begun, left in the background, gone on with."""
