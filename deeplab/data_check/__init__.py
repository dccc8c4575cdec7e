"""Checks data before a training: statistics, problems, class weights."""
