"""Async SDK and bulk importer for the Routera CRM."""
