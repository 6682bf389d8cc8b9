"""Steps of a build as layers: built once, and found again by their inputs."""
