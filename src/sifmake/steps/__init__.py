"""Steps of a build as layers: made once, found again by what went into them."""
