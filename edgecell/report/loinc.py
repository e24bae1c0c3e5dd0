"""LOINC: the names of the codes that edgecell's own bundles use, which its licence wants beside a code, and its notice.

A bundle's manifest says which code a class has. A code of somebody else's bundle goes without a name.
"""

SYSTEM = "http://loinc.org"
NOTICE = (
    "This material contains content from LOINC (http://loinc.org). LOINC is copyright \u00a9 Regenstrief Institute, Inc. and"
    " the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at no cost under the license at"
    " http://loinc.org/license. LOINC\u00ae is a registered United States trademark of Regenstrief Institute, Inc."
)
"""In LOINC's own words, wherever one of its codes stands."""

NAMES = {
    "11138-5": "Myeloid cells/Erythroid cells [# Ratio] in Bone marrow",
    "11152-6": "Eosinophils/cells in Bone marrow",
    "19048-8": "Nucleated erythrocytes/Leukocytes [Ratio] in Blood",
    "26450-7": "Eosinophils/Leukocytes in Blood",
    "26478-8": "Lymphocytes/Leukocytes in Blood",
    "26485-3": "Monocytes/Leukocytes in Blood",
    "26511-6": "Neutrophils/Leukocytes in Blood",
    "30180-4": "Basophils/Leukocytes in Blood",
    "38518-7": "Immature granulocytes/Leukocytes in Blood",
    "47286-0": "Differential panel - Bone marrow",
    "69738-3": "Differential panel, method unspecified - Blood",
}
"""Long common names. Where codes differ in the method only, the one without: a network on a smear is none of them."""

PANELS: dict[str, str] = {"blood": "69738-3", "marrow": "47286-0"}
"""Specimen -> a whole differential. There is none for lavage fluid."""

MYELOID_ERYTHROID = "11138-5"
