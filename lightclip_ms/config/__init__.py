"""What decides a run: the configuration, its files and the named models. Loads no MindSpore."""
