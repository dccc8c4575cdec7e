"""Checks of the data before a training: statistics, problems and class weights."""
