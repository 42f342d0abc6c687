"""Tests of the Slicer module: clicks in the little Slicer of Testing.Host, with an engine that is small or real."""
