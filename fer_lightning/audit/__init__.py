"""What is wrong with a copy of FER2013: python -m fer_lightning.audit PATH"""
