"""How the demonstration base model is made; nothing here is imported when dslm serves."""
