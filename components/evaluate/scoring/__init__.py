"""How an answer's final number is found and compared, in any script. Imports nothing of lidr."""
