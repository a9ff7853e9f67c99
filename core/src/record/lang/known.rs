//! The languages that have a name of their own in rows and lists. All others are counted as
//! [`Lang::OTHER`](super::Lang::OTHER).
//!
//! Stored rows depend on these tables. A change to them must raise the versions of the views that
//! count languages.

/// Primary subtags: all codes of ISO 639-1 and 639-2 (<https://www.loc.gov/standards/iso639-2/>)
/// except `und`, and the codes of ISO 639-3 (<https://iso639-3.sil.org>) for widely written
/// languages.
pub(super) const LANGUAGES: &str = "\
    aa aar ab abk ace ach acm ada ady ae aeb af afa afh afr agr ain ajp ak aka akk alb ale alg \
    alt am amh ami an ang anp apa apc ar ara arb arc arg arm arn arp arq art arw ary arz as asm \
    ast ath aus av ava ave avk awa ay ayc aym az azb aze azj ba bad bai bak bal bam ban baq bar \
    bas bat bbc bcl be bej bel bem ben ber bew bg bh bhb bho bi bih bik bin bis bjn bla bm bn \
    bnt bo bod bos bpy br bra bre brx bs btk bua bug bul bur bxr byn ca cad cai car cat cau cbk \
    cdo ce ceb cel ces ch cha chb che chg chi chk chm chn cho chp chr chu chv chy cjy ckb cmc \
    cmn cnr co cop cor cos cpe cpf cpp cr cre crh crp cs csb cu cus cv cy cym cze da dag dak dan \
    dar day de del den deu dgr din diq div doi dra dsb dua dum dut dv dyu dz dzo ee efi egl egy \
    eka el ell elx en eng enm eo epo es est et eu eus ewe ewo ext fa fan fao fas fat ff fi fij \
    fil fin fiu fj fo fon fr fra fre frm fro frp frr frs fry ful fur fy ga gaa gag gan gay gba \
    gcr gd gem geo ger gez gil gl gla gle glg glk glv gmh gn goh gom gon gor got gpe grb grc gre \
    grn gsw gu guj gur guw guz gv gwi ha hai hak hat hau haw he heb her hi hif hil him hin hit \
    hmn hmo hne ho hr hrv hsb hsn ht hu hun hup hy hye hz ia iba ibb ibo ice id ido ie ig ii iii \
    ijo ik ike iku ile ilo ina inc ind ine inh io ipk ira iro is isl it ita iu izh ja jam jav \
    jbo jpn jpr jrb jv ka kaa kab kac kal kam kan kar kas kat kau kaw kaz kbd kbp kea kg kha khi \
    khm kho ki kik kin kir kj kk kl km kmb kmr kn knn ko koi kok kom kon kor kos kpe kr krc krl \
    kro kru ks ksh ku kua kum kur kut kv kw ky la lad lah lam lao lat lav lb lbe lep lez lg li \
    lij lim lin lit liv lld lmo ln lo lol loz lt ltg ltz lu lua lub lug lui lun luo lus lv lzh \
    lzz mac mad mag mah mai mak mal man mao map mar mas may mdf mdr men mer mfe mg mga mh mhr mi \
    mic min miq mis mjw mk mkd mkh ml mlg mlt mn mnc mni mno mnp mnw moh mon mos mr mri mrj ms \
    msa mt mui mul mun mus mwl mwr my mya myn myv mzn na nah nai nan nap nau nav nb nbl nd nde \
    ndo nds ne nep new ng nhn nia nic niu nl nld nn nno no nob nog non nor nov nqo nr nso nub \
    nup nv nwc ny nya nym nyn nyo nzi oc oci oj oji olo om or ori orm os osa oss ota oto pa paa \
    pag pal pam pan pap pau pcm pdc pdt peo per pes pfl phi phn pi pl pli pms pnb pol pon por \
    pra pro prs ps pt pus pwn qu que quz raj rap rar rcf rgn rif rm rmy rn ro roa roh rom ron ru \
    rum run rup rus rw sa sad sag sah sai sal sam san sas sat sc scn sco sd sdh se sel sem sg \
    sga sgn sgs sh shi shn shs shy si sid sin sio sit sk skr sl sla slk slo slv sm sma sme smi \
    smj smn smo sms sn sna snd snk so sog som son sot spa sq sqi sr srd srn srp srr ss ssa ssw \
    st stq su suk sun sus sux sv sw swa swc swe syc syr szl szy ta tah tai tam tat tay tcy te \
    tel tem ter tet tg tgk tgl th tha the ti tib tig tir tiv tk tkl tl tlh tli tly tmh tn to tog \
    toi tok ton tpi tr trp trv ts tsi tsn tso tt tuk tum tup tur tut tvl tw twi ty tyv tzm udm \
    ug uga uig uk ukr umb unm unr ur urd uz uzb vai ve vec ven vep vi vie vls vo vol vot vro wa \
    wae wak wal war was wel wen wln wo wol wuu xal xh xho xmf yao yap yi yid yo yor ypk yrk yue \
    yuw za zap zbl zea zen zgh zh zha zho znd zu zul zun zxx zza";

/// Tags with a script, a region or a variant: those for which operating systems have a locale, and
/// some other common ones.
pub(super) const LOCALES: &str = "\
    aa-DJ aa-ER aa-ET ab-GE af-ZA agr-PE ak-GH am-ET an-ES anp-IN ar-AE ar-BH ar-DZ ar-EG ar-IN \
    ar-IQ ar-JO ar-KW ar-LB ar-LY ar-MA ar-OM ar-PS ar-QA ar-SA ar-SD ar-SS ar-SY ar-TN ar-YE \
    as-IN ast-ES ayc-PE az-AZ az-Cyrl az-IR az-Latn be-BY be-Latn be-tarask bem-ZM ber-DZ ber-MA \
    bg-BG bhb-IN bho-IN bho-NP bi-VU bn-BD bn-IN bo-CN bo-IN br-FR brx-IN bs-BA bs-Cyrl bs-Latn \
    byn-ER ca-AD ca-ES ca-FR ca-IT ca-valencia ce-RU chr-US ckb-IQ cmn-TW crh-UA cs-CZ csb-PL \
    cv-RU cy-GB da-DK da-GL de-AT de-BE de-CH de-DE de-IT de-LI de-LU doi-IN dsb-DE dv-MV dz-BT \
    el-CY el-GR en-001 en-150 en-AG en-AU en-BD en-BW en-CA en-CY en-DK en-GB en-GH en-HK en-IE \
    en-IL en-IN en-JM en-KE en-MT en-MY en-NG en-NZ en-PH en-PK en-PR en-SC en-SG en-TT en-TZ \
    en-UG en-US en-ZA en-ZM en-ZW es-419 es-AR es-BO es-BR es-CL es-CO es-CR es-CU es-DO es-EC \
    es-ES es-GQ es-GT es-HN es-MX es-NI es-PA es-PE es-PH es-PR es-PY es-SV es-US es-UY es-VE \
    et-EE eu-ES eu-FR fa-AF fa-IR ff-Adlm ff-Latn ff-SN fi-FI fil-PH fo-FO fr-BE fr-CA fr-CD \
    fr-CH fr-CI fr-CM fr-DZ fr-FR fr-HT fr-LU fr-MA fr-MC fr-SN fr-TN fur-IT fy-DE fy-NL ga-IE \
    gd-GB gez-ER gez-ET gl-ES gu-IN gv-GB ha-NG hak-TW he-IL hi-IN hi-Latn hif-FJ hne-IN hr-HR \
    hsb-DE ht-HT hu-HU hy-AM ia-FR id-ID ig-NG ik-CA is-IS it-CH it-IT it-VA iu-CA ja-Hira ja-JP \
    ja-Kana ja-Latn ka-GE kab-DZ kk-Cyrl kk-KZ kk-Latn kl-GL km-KH kn-IN ko-KP ko-KR ko-Latn \
    kok-IN ks-Arab ks-Deva ks-IN ku-Arab ku-Latn ku-TR kw-GB ky-KG lb-LU lg-UG li-BE li-NL \
    lij-IT ln-CD lo-LA lt-LT lv-LV lzh-TW mag-IN mai-IN mai-NP mfe-MU mg-MG mhr-RU mi-NZ miq-NI \
    mjw-IN mk-MK ml-IN mn-Cyrl mn-MN mn-Mong mni-IN mnw-MM mr-IN ms-Arab ms-BN ms-MY ms-SG mt-MT \
    my-MM nan-TW nb-NO nb-SJ nds-DE nds-NL ne-NP nhn-MX niu-NU niu-NZ nl-AW nl-BE nl-CW nl-NL \
    nl-SR nn-NO nr-ZA nso-ZA oc-FR om-ET om-KE or-IN os-RU pa-Arab pa-Guru pa-IN pa-PK pap-AW \
    pap-CW pl-PL ps-AF pt-AO pt-BR pt-CV pt-MZ pt-PT quz-PE raj-IN rif-MA ro-MD ro-RO ru-BY \
    ru-KG ru-KZ ru-Latn ru-MD ru-RU ru-UA rw-RW sa-IN sah-RU sat-IN sc-IT sd-Arab sd-Deva sd-IN \
    se-NO sgs-LT shn-MM shs-CA si-LK sid-ET sk-SK sl-SI sm-WS so-DJ so-ET so-KE so-SO sq-AL \
    sq-MK sr-Cyrl sr-Cyrl-RS sr-Latn sr-Latn-RS sr-ME sr-RS ss-ZA st-ZA sv-AX sv-FI sv-SE sw-KE \
    sw-TZ szl-PL ta-IN ta-LK ta-MY ta-SG tcy-IN te-IN tg-Cyrl tg-TJ th-TH the-NP ti-ER ti-ET \
    tig-ER tk-TM tl-PH tn-ZA to-TO tpi-PG tr-CY tr-TR ts-ZA tt-RU ug-CN uk-Latn uk-UA unm-US \
    ur-IN ur-Latn ur-PK uz-Cyrl uz-Latn uz-UZ ve-ZA vi-VN wa-BE wae-CH wal-ET wo-SN xh-ZA yi-US \
    yo-NG yue-Hans yue-Hant yue-Hant-HK yue-HK yuw-PG zh-CN zh-Hans zh-Hans-CN zh-Hans-HK \
    zh-Hans-SG zh-Hant zh-Hant-HK zh-Hant-MO zh-Hant-TW zh-HK zh-Latn zh-MO zh-SG zh-TW zu-ZA";
