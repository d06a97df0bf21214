"""Given names frequent in Europe and North America, and words that stand beside them without being surnames.

Names that are also words of a laboratory (Mark, Grace, Victor, Max) are left out: they would raise false alarms.
"""

from __future__ import annotations

GIVEN_NAMES = frozenset(
    """
    aaron adam adrian agnes alan albert alexander alexandra alfred alice alison amanda amelia amy andrea
    andreas andrew angela anita anna anne annette anthony antonio arthur barbara beatrice benjamin bernard
    bernd betty brenda brian bridget bruce camille carl carla carlos carol caroline catherine cecilia charles
    christian christina christine christopher claire claudia colin craig cynthia daniel daniela david deborah
    denise dennis derek diana diane dieter dimitri dominik donald donna dorothy douglas edith eduardo edward
    eileen eleanor elena elisabeth elizabeth ellen emily emma eric erika ernst esther eugene eva evelyn fatima
    felicity felix fiona francesca francis francisco franz friedrich gabriel gabriele gareth gary geoffrey
    george gerald gerhard giovanni giulia gordon graham gregory guenter gustav hannah hans harold harriet
    harry heather heidi heinrich helen helena helga helmut henry herbert hermann hilary horst howard hugh ian
    ingrid irene isabel isabella ivan jacob jacqueline james jan jane janet jason javier jean jeffrey jennifer
    jeremy jessica joan joanna joanne johann john johnathan jonathan jorge jose joseph joshua juan judith
    julia julian julie juergen justin karen karl katharina katherine kathleen keith kenneth kevin klaus larry
    laura lauren laurence lawrence leonard liam linda lisa louise lucas lucia luis lynn manfred manuel marcus
    margaret maria marie martha martin mary matthew maureen megan melanie melissa michael michelle miguel
    monica monika nancy natalie natasha nathan nicholas nicola nicole nigel noah norman oliver olivia oscar
    pamela patricia patrick paul paula pauline pedro peter petra philip phillip rachel ralph ramon raymond
    rebecca reinhard renate richard robert roberto roger ronald rosemary roy russell ruth ryan samantha samuel
    sandra sarah scott sebastian sergio sharon sheila shirley silvia simon sofia sophia sophie stefan stefanie
    stephanie stephen steven stuart susan susanne suzanne sylvia tanja teresa theresa thomas timothy tracey
    ursula valerie vanessa veronica vincent virgil walter wanda wendy werner william wolfgang yolanda yvonne
    zoe
    """.split()  # noqa: SIM905  - read and kept as a text
)

NO_SURNAMES = frozenset(
    """
    plate run assay kit sample samples standard control data analysis test blank result results file
    experiment report hospital university institute laboratory lab street road avenue college school
    foundation software instruments microsoft windows tissue serum plasma slide well wells the and for von der
    copy final new old fcs csv txt xlsx map mean protocol study
    """.split()  # noqa: SIM905  - as above
)
