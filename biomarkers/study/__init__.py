"""The trial as data: arms, visits, analytes, panels, stains, whose tube and from when. Knows no file and no method."""
