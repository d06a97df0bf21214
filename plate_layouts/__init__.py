"""Reusable plate designs, shipped with the wheel as data; a laboratory starts with copies of them."""
