"""A study with known truth, written as instrument files: subjects, plates, acquisitions, slides.

Every number in here is invented for testing software. None describes a person, and none may be quoted as data. Where an order
of magnitude was wanted it was taken from: kynurenine 1.0-3.3 and tryptophan 40-90 umol/L in EDTA plasma (Bevital's reference
values), their course under gemcitabine and carboplatin (PMC3661168), interleukins mostly undetectable in healthy plasma
(10.1155/MI/2006/65237), blood lymphocyte subsets (Clin Vaccine Immunol 2013;20:602; PMC8867623; PLoS ONE 2019;14:e0225512),
and T-cell densities of uterine sarcoma (PMC7103067) with the few PD-L1 positive leiomyosarcomas of PMC6089390.
"""
