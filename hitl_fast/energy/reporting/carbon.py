"""Joules to grams of CO2 equivalent, by the user's own grid intensity or a country's yearly average.

Never a network call: the averages below are of the year beside them, and whoever knows the intensity of their own
contract or hour should give that number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hitl_fast._common.errors import InputError

JOULES_PER_KWH = 3_600_000.0


class Intensity(NamedTuple):
    """Grams of CO2 equivalent per kWh generated, over the life cycle, and the year they are the average of."""

    grams_per_kwh: float
    year: int


SOURCE = "Ember, Yearly Electricity Data (CC BY 4.0)"

# Average of the electricity generated in a year, by ISO 3166-1 alpha-3 code. Life cycle emissions, 100-year warming
# potentials. Source: Ember, Yearly Electricity Data, licence CC BY 4.0, https://ember-energy.org, as republished by
# Our World in Data (carbon-intensity-electricity) and The Green Web Foundation (co2.js, average-intensities), which
# agree where both have a country and year. Rounded to whole grams.
INTENSITIES = {
    "AUS": Intensity(549, 2023),
    "AUT": Intensity(111, 2023),
    "BEL": Intensity(138, 2023),
    "BGR": Intensity(335, 2023),
    "BRA": Intensity(98, 2023),
    "CAN": Intensity(170, 2023),
    "CHE": Intensity(35, 2023),
    "CHN": Intensity(582, 2023),
    "CZE": Intensity(450, 2023),
    "DEU": Intensity(381, 2023),
    "DNK": Intensity(152, 2023),
    "ESP": Intensity(174, 2023),
    "EST": Intensity(417, 2023),
    "FIN": Intensity(79, 2023),
    "FRA": Intensity(56, 2023),
    "GBR": Intensity(238, 2023),
    "GRC": Intensity(337, 2023),
    "HUN": Intensity(204, 2023),
    "IND": Intensity(713, 2023),
    "IRL": Intensity(291, 2023),
    "ITA": Intensity(331, 2023),
    "JPN": Intensity(513, 2022),
    "KOR": Intensity(442, 2022),
    "NLD": Intensity(268, 2023),
    "NOR": Intensity(30, 2023),
    "POL": Intensity(662, 2023),
    "PRT": Intensity(166, 2023),
    "SGP": Intensity(474, 2022),
    "SWE": Intensity(41, 2023),
    "USA": Intensity(386, 2022),
}

# ISO 3166-1: alpha-3 code -> (alpha-2 code, short names in English, and the country's own where another is usual).
COUNTRIES = {
    "AUS": ("AU", "Australia"), "AUT": ("AT", "Austria"), "BEL": ("BE", "Belgium"), "BGR": ("BG", "Bulgaria"),
    "BRA": ("BR", "Brazil"), "CAN": ("CA", "Canada"), "CHE": ("CH", "Switzerland"), "CHN": ("CN", "China"),
    "CZE": ("CZ", "Czechia", "Czech Republic"), "DEU": ("DE", "Germany", "Deutschland"), "DNK": ("DK", "Denmark"),
    "ESP": ("ES", "Spain"), "EST": ("EE", "Estonia"), "FIN": ("FI", "Finland"), "FRA": ("FR", "France"),
    "GBR": ("GB", "United Kingdom", "UK", "Great Britain"), "GRC": ("GR", "Greece"), "HUN": ("HU", "Hungary"),
    "IND": ("IN", "India"), "IRL": ("IE", "Ireland"), "ITA": ("IT", "Italy"), "JPN": ("JP", "Japan"),
    "KOR": ("KR", "South Korea", "Korea", "Republic of Korea"), "NLD": ("NL", "Netherlands", "The Netherlands"),
    "NOR": ("NO", "Norway"), "POL": ("PL", "Poland"), "PRT": ("PT", "Portugal"), "SGP": ("SG", "Singapore"),
    "SWE": ("SE", "Sweden"), "USA": ("US", "United States", "United States of America"),
}  # fmt: skip
_CODES = {name.casefold(): code for code, names in COUNTRIES.items() for name in (code, *names)}


@dataclass(frozen=True)
class Carbon:
    """Grams of CO2 equivalent, what they may be off by for the meter's part, and what they rest on."""

    grams: float
    uncertainty_grams: float
    grams_per_kwh: float
    source: str


def carbon(
    joules: float,
    grams_per_kwh: float | None = None,
    *,
    country: str | None = None,
    uncertainty_joules: float = 0.0,
) -> Carbon:
    """``joules / 3.6e6 x intensity``, by the given intensity, else by the country's average.

    Args:
        grams_per_kwh: the grid's intensity in gCO2e/kWh; used even if ``country`` is given too.
        country: ISO 3166-1 code of two or three letters, or English name; see `INTENSITIES` for which there are.

    Raises:
        ValueError: neither is given, the intensity is negative or not finite, or the country is not in the table.

    >>> carbon(7_200_000, 50.0).grams
    100.0
    >>> carbon(3_600_000, country="FRA").source
    'average of FRA 2023; Ember, Yearly Electricity Data (CC BY 4.0)'
    """
    if grams_per_kwh is None:
        if country is None:
            raise InputError("give grams_per_kwh (gCO2e/kWh) or country (ISO 3166-1 code or English name)")
        code = _CODES.get(" ".join(country.split()).casefold(), "")
        known = INTENSITIES.get(code)
        if known is None:
            raise InputError(
                f"country {country!r} is not in the table ({', '.join(INTENSITIES)}); give grams_per_kwh instead"
            )
        grams_per_kwh, source = known.grams_per_kwh, f"average of {code} {known.year}; {SOURCE}"
    else:
        source = "given by the user"
    if not 0 <= grams_per_kwh < float("inf"):
        raise InputError(f"grams_per_kwh must be a number of grams, at least 0, not {grams_per_kwh}")
    kwh = joules / JOULES_PER_KWH
    doubt = uncertainty_joules / JOULES_PER_KWH
    return Carbon(kwh * grams_per_kwh, doubt * grams_per_kwh, grams_per_kwh, source)
