//! The one place for clock, ids, task spawning, configuration layers and logging.
