"""LightningModules"""
