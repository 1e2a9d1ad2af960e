//! Abbreviations that keep their point, as alternatives of a pattern. In most of them case does not matter; where the
//! same word without a capital is an ordinary one, the capital is asked for.

/// Usually followed by a small letter: months, days, states, companies, and what stands after a name.
pub const BEFORE_SMALL: &str = "\
    (?i:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec\
    |mon|tues?|wed|thu(?:rs)?|fri\
    |ala|ariz|calif|colo|conn|ct|dak|fla|ga|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo\
    |assn|bancorp|bhd|cos?|corp|inc|intl|ltd|plc|pp?t[yYe]s?|rt|sys|univ\
    |est|ext|sq|tel\
    |blvd|bros|ed\\.d|esq|jr|ph\\.d|rd|sr\
    |al|bldg|etc|seq)\
    |A(?i:z|rk)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash)";

/// Usually followed by a capital: titles, places, and others.
pub const BEFORE_CAPITAL: &str = "\
    (?i:adj|adm|adv|assoc|asst|attys?|ave|brig|capt|co?mdr|col|cpl|det|drs?|ens|ft|gen|govs?|hon|insp|lieut|lt|maj\
    |messrs|mlle|mme|mrs?|ms|msgr|mt|pfc|pres|profs?|pvt|reps?|rev|sens?|sfc|sgt|spc|ste?|supts?\
    |alex|a\\.k\\.a|cf|cie|jos|ph|treas|vs|wm\
    |dept|elec|invt|m[fFt]g|natl)\
    |M(?i:iss)";

/// Keep their point only before a number.
pub const BEFORE_NUMBER: &str = "(?i:art|bldg|ca|figs?|nos?|op|pp|prop)";

/// Words that begin a sentence: before them `plan B.` ends one.
pub const SENTENCE_STARTS: &str = "\
    A(?i:bout|ccording|dditionally|fter|n|s|t)?|B(?i:ut)|E(?i:arlier)|H(?i:e|er|ere|owever)|I(?i:f|n|t)|L(?i:ast)\
    |M(?i:any|ore|r\\.|s\\.)|N(?i:ow)|O(?i:nce|ne|ther|ur)|S(?i:he|ince|o|ome|uch)\
    |T(?i:hat|he|heir|hen|here|hese|hey|his)|W(?i:e|hen|hile|hat)|Y(?i:et|ou)";

/// Endings of file names, after which the point before them is no end of a sentence.
pub const FILE_ENDINGS: &str = "(?i:bat|bmp|c|cgi|class|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl\
    |png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip)";
