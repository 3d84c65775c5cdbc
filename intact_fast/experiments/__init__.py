"""The paper's tables: named recipes of one configuration, run over seeds and resumed."""
