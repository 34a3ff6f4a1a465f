-- 010_versions: how far mitras.version can count.
--
-- The mirror's script compares versions as doubles, which are exact up to 2^53; the triggers count no further than that
-- (functions/30_versions.sql), and an edit by hand that wants more is refused here.  What is beyond already is put to the
-- end, without a trigger that would count on from there.
lock table public.mitras in access exclusive mode;
alter table public.mitras disable trigger user;
update public.mitras set version = least(greatest(version, 1), 9007199254740991)
	where version not between 1 and 9007199254740991;
alter table public.mitras enable trigger user;

alter table public.mitras add constraint mitras_version_check check (version between 0 and 9007199254740991);
