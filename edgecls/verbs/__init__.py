"""What edgecls does, one module per verb: here the making and the measuring half meet."""
