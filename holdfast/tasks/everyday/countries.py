"""Countries and their capitals, one a line; several accepted spellings, or capitals, are parted by a slash."""

# Left out: countries whose capital has their name, is disputed, or was moved within the last years.
CAPITALS = """
Afghanistan: Kabul
Albania: Tirana
Algeria: Algiers
Andorra: Andorra la Vella
Angola: Luanda
Argentina: Buenos Aires
Armenia: Yerevan
Australia: Canberra
Austria: Vienna
Azerbaijan: Baku
Bahrain: Manama
Bangladesh: Dhaka / Dacca
Barbados: Bridgetown
Belarus: Minsk
Belgium: Brussels
Belize: Belmopan
Bhutan: Thimphu
Bolivia: Sucre / La Paz
Bosnia and Herzegovina: Sarajevo
Botswana: Gaborone
Brazil: Brasília / Brasilia
Brunei: Bandar Seri Begawan
Bulgaria: Sofia
Burkina Faso: Ouagadougou
Cambodia: Phnom Penh
Cameroon: Yaoundé / Yaounde
Canada: Ottawa
Cape Verde: Praia
Chad: N'Djamena
Chile: Santiago / Santiago de Chile
China: Beijing / Peking
Colombia: Bogotá / Bogota
Costa Rica: San José / San Jose
Croatia: Zagreb
Cuba: Havana
Cyprus: Nicosia
Czech Republic: Prague
Denmark: Copenhagen
Dominican Republic: Santo Domingo
Ecuador: Quito
Egypt: Cairo
El Salvador: San Salvador
Eritrea: Asmara
Estonia: Tallinn
Ethiopia: Addis Ababa
Fiji: Suva
Finland: Helsinki
France: Paris
Gabon: Libreville
Gambia: Banjul
Georgia: Tbilisi
Germany: Berlin
Ghana: Accra
Greece: Athens
Guatemala: Guatemala City
Guinea: Conakry
Guinea-Bissau: Bissau
Guyana: Georgetown
Haiti: Port-au-Prince
Honduras: Tegucigalpa
Hungary: Budapest
Iceland: Reykjavik / Reykjavík
India: New Delhi / Delhi
Iran: Tehran / Teheran
Iraq: Baghdad
Ireland: Dublin
Italy: Rome
Ivory Coast: Yamoussoukro
Jamaica: Kingston
Japan: Tokyo
Jordan: Amman
Kenya: Nairobi
Kuwait: Kuwait City
Kyrgyzstan: Bishkek
Laos: Vientiane
Latvia: Riga
Lebanon: Beirut
Lesotho: Maseru
Liberia: Monrovia
Libya: Tripoli
Liechtenstein: Vaduz
Lithuania: Vilnius
Madagascar: Antananarivo
Malawi: Lilongwe
Malaysia: Kuala Lumpur / Putrajaya
Maldives: Malé / Male
Mali: Bamako
Malta: Valletta
Mauritania: Nouakchott
Mauritius: Port Louis
Mexico: Mexico City
Moldova: Chișinău / Chisinau
Mongolia: Ulaanbaatar / Ulan Bator
Montenegro: Podgorica
Morocco: Rabat
Mozambique: Maputo
Myanmar: Naypyidaw / Nay Pyi Taw
Namibia: Windhoek
Nepal: Kathmandu
Netherlands: Amsterdam
New Zealand: Wellington
Nicaragua: Managua
Niger: Niamey
Nigeria: Abuja
North Korea: Pyongyang
North Macedonia: Skopje
Norway: Oslo
Oman: Muscat
Pakistan: Islamabad
Papua New Guinea: Port Moresby
Paraguay: Asunción / Asuncion
Peru: Lima
Philippines: Manila
Poland: Warsaw
Portugal: Lisbon
Qatar: Doha
Romania: Bucharest
Russia: Moscow
Rwanda: Kigali
Samoa: Apia
Saudi Arabia: Riyadh
Senegal: Dakar
Serbia: Belgrade
Seychelles: Victoria
Sierra Leone: Freetown
Slovakia: Bratislava
Slovenia: Ljubljana
Solomon Islands: Honiara
Somalia: Mogadishu
South Africa: Pretoria / Cape Town / Bloemfontein
South Korea: Seoul
South Sudan: Juba
Spain: Madrid
Sudan: Khartoum
Suriname: Paramaribo
Sweden: Stockholm
Switzerland: Bern / Berne
Syria: Damascus
Tajikistan: Dushanbe
Tanzania: Dodoma
Thailand: Bangkok
Togo: Lomé / Lome
Tonga: Nuku'alofa
Trinidad and Tobago: Port of Spain
Tunisia: Tunis
Turkey: Ankara
Turkmenistan: Ashgabat
Uganda: Kampala
Ukraine: Kyiv / Kiev
United Arab Emirates: Abu Dhabi
United Kingdom: London
United States: Washington, D.C. / Washington
Uruguay: Montevideo
Uzbekistan: Tashkent
Vanuatu: Port Vila
Venezuela: Caracas
Vietnam: Hanoi
Yemen: Sana'a
Zambia: Lusaka
Zimbabwe: Harare
"""
