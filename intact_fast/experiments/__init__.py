"""The paper's tables as named recipes of one configuration, run, resumed and set beside its figures."""
