//! What can be said of a project from its files alone: structure, health, dependencies, issues.
