#include "unit.h"

#include "bakery/check.h"
#include "bakery/dockerfile.h"
#include "bakery/expand.h"
#include "bakery/ignore.h"
#include "bakery/path.h"
#include "bakery/pattern.h"

static struct dockerfile parsed(const char *text)
{
    struct dockerfile d;
    struct err err;
    assert_ok(dockerfile_parse(text, strlen(text), "Dockerfile", &d, &err), &err);
    return d;
}

static void refused(const char *text, const char *message)
{
    struct dockerfile d;
    struct err err = {0};
    if (dockerfile_parse(text, strlen(text), "Dockerfile", &d, &err) >= 0)
        fail_msg("accepted: %s", text);
    assert_string_equal(err.msg, message);
}

static void lines_are_joined_and_comments_within_them_dropped(void **state)
{
    struct dockerfile d =
        parsed("# comment\n\nfrom a AS b\nRUN one \\\n# not this\n\n   two \\  \n  three\\\\\nUSER x\r\n"
               "  ENV a=1 \\\n b=\"2 3\"\n");
    assert_int_equal(d.step_count, 4);
    assert_int_equal(d.steps[0].op, DF_FROM);
    assert_string_equal(d.steps[0].args[2], "b");
    assert_int_equal(d.steps[1].line, 4);
    assert_string_equal(d.steps[1].args[0], "one    two   three\\\\");
    assert_string_equal(d.steps[2].args[0], "x");
    assert_int_equal(d.steps[3].line, 10);
    assert_int_equal(d.steps[3].pair_count, 2);
    assert_string_equal(d.steps[3].pairs[1].name, "b");
    assert_string_equal(d.steps[3].pairs[1].value, "\"2 3\"");
    dockerfile_done(&d);
}

static void the_escape_directive_changes_continuation_and_a_comment_ends_directives(void **state)
{
    struct dockerfile d = parsed("# syntax=docker/dockerfile:1\n# Escape = `\nFROM a\nCOPY a `\n  c:\\\n");
    assert_int_equal(d.escape, '`');
    assert_string_equal(d.steps[1].args[1], "c:\\");
    dockerfile_done(&d);
    d = parsed("# a comment\n# escape=`\nFROM a\n");
    assert_int_equal(d.escape, '\\');
    dockerfile_done(&d);
    d = parsed("#!/usr/bin/env build\n# escape=`\n# check=skip=all\nFROM a\nRUN `\n");
    assert_int_equal(d.escape, '\\');
    assert_string_equal(d.check, "skip=all");
    assert_int_equal(d.steps[0].line, 4);
    assert_string_equal(d.steps[1].args[0], "`");
    dockerfile_done(&d);
    d = parsed("# check=skip=all\n#!/bin/x\n# escape=`\nFROM a\n");
    assert_int_equal(d.escape, '\\');
    dockerfile_done(&d);
    refused("#!x\n# check=error=true\n# check=error=true\nFROM a\n",
            "Dockerfile:3: only one check parser directive can be used");
    refused("# escape=x\nFROM a\n", "Dockerfile:1: invalid escape 'x': it must be \\ or `");
    refused("# escape=`\n# escape=`\nFROM a\n", "Dockerfile:2: only one escape parser directive can be used");
}

static void json_and_shell_forms_are_told_apart(void **state)
{
    struct dockerfile d =
        parsed("FROM a\nCMD [\"a b\", \"c\"]\nCMD [ -f x ] && y\nENTRYPOINT []\nCMD\n"
               "VOLUME /a /b\nVOLUME [\"/a b\"]\nCOPY [\"a b\", \"/c d/\"]\n"
               "HEALTHCHECK --interval=5s --retries=3 CMD [\"curl\", \"x\"]\nHEALTHCHECK NONE\n");
    assert_true(d.steps[1].json);
    assert_string_equal(d.steps[1].args[0], "a b");
    assert_false(d.steps[2].json);
    assert_string_equal(d.steps[2].args[0], "[ -f x ] && y");
    assert_true(d.steps[3].json);
    assert_null(d.steps[3].args);
    assert_int_equal(strv_len(d.steps[5].args), 2);
    assert_string_equal(d.steps[6].args[0], "/a b");
    assert_string_equal(d.steps[7].args[1], "/c d/");
    assert_string_equal(df_flag(&d.steps[8], "retries"), "3");
    assert_string_equal(d.steps[8].args[2], "x");
    dockerfile_done(&d);
    d = parsed("FROM a\nRUN []\nEXPOSE 80 2375 443/udp\n");
    assert_true(d.steps[1].json && !d.steps[1].args);
    assert_string_equal(d.steps[2].args[0], "2375");
    assert_string_equal(d.steps[2].args[2], "80");
    dockerfile_done(&d);
    refused("FROM a\nSHELL /bin/sh\n",
            "Dockerfile:2: SHELL requires the arguments to be in JSON form: [\"program\", \"argument\"]");
    refused("FROM a\nCMD [1]\n",
            "Dockerfile:2: CMD: when using JSON array syntax, arrays must be comprised of strings only");
}

static void heredocs_take_their_lines(void **state)
{
    struct dockerfile d = parsed("FROM a\nRUN <<EOF cat > x\n# kept $V \\\n  two\nEOF\n"
                                 "COPY <<-one <<'t w o' /dir/\n\tA\n\t\tB\n\tone\nC\nt w o\n"
                                 "RUN cat <<<word\nONBUILD RUN <<X\nhello\nX\nUSER u\n");
    assert_int_equal(d.step_count, 6);
    assert_string_equal(d.steps[1].heredocs[0].content, "# kept $V \\\n  two\n");
    assert_true(d.steps[1].heredocs[0].expand);
    assert_int_equal(d.steps[2].heredoc_count, 2);
    assert_string_equal(d.steps[2].heredocs[0].content, "A\nB\n");
    assert_string_equal(d.steps[2].heredocs[1].name, "t w o");
    assert_false(d.steps[2].heredocs[1].expand);
    assert_int_equal(d.steps[3].heredoc_count, 0);
    assert_string_equal(d.steps[4].args[0], "RUN <<X\nhello\nX");
    assert_int_equal(d.steps[5].line, 16);
    dockerfile_done(&d);
    d = parsed("FROM a\nRUN <<eo'f'\nx\neof\nRUN <<eo\\'f\nx\neo'f\nRUN <<'e'o\\'f\nx\neo'f\nRUN <<$E\n$E\n"
               "RUN \"<<no\" '<<no'\nRUN [\"<<no\"]\nRUN echo $((1 << 2))\nCOPY <<X <<Y "
               "/d/\nY\nX\nX\nY\nUSER <<X\n");
    static const struct {
        const char *name;
        bool expand;
    } names[] = {{"eof", false}, {"eo'f", true}, {"eo'f", false}, {"$E", true}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(d.steps[i + 1].heredoc_count, 1);
        assert_string_equal(d.steps[i + 1].heredocs[0].name, names[i].name);
        assert_int_equal(d.steps[i + 1].heredocs[0].expand, names[i].expand);
    }
    for (size_t i = 5; i < 8; i++)
        assert_int_equal(d.steps[i].heredoc_count, 0);
    assert_string_equal(d.steps[8].heredocs[0].content, "Y\n");
    assert_string_equal(d.steps[8].heredocs[1].content, "X\n");
    assert_int_equal(d.steps[9].heredoc_count, 0);
    dockerfile_done(&d);
    refused("FROM a\nRUN <<'EOF\nx\nEOF\n",
            "Dockerfile:2: RUN: a quote in the heredoc's name <<'EOF is not closed");
    refused("FROM a\nRUN <<EOF\nx\n",
            "Dockerfile:2: RUN: the heredoc \"EOF\" is not ended by a line \"EOF\"");
}

static void mistakes_are_named_with_their_line(void **state)
{
    refused("FROM a\n\nRUNN x\n", "Dockerfile:3: unknown instruction: RUNN (did you mean RUN?)");
    refused("FROM a\nnonsense here\n", "Dockerfile:2: unknown instruction: nonsense");
    refused("", "Dockerfile: file with no instructions");
    refused("RUN x\n", "Dockerfile:1: RUN: no build stage in current context: a FROM must come before it");
    refused("ARG x\n", "Dockerfile: no FROM in it");
    refused("FROM a b\n", "Dockerfile:1: FROM: either one argument, or three: FROM <image> [AS <name>]");
    refused("FROM a as 1b\n", "Dockerfile:1: FROM: invalid name for build stage: \"1b\"");
    refused("FROM a\nCOPY --form=x a b\n", "Dockerfile:2: COPY: unknown flag: --form (did you mean --from?)");
    refused("FROM a\nCOPY a\n",
            "Dockerfile:2: COPY requires at least two arguments: sources and a destination");
    refused("FROM a\nENV a\n", "Dockerfile:2: ENV: a needs a value: name=value");
    refused("FROM a\nENV a=1 b\n",
            "Dockerfile:2: ENV: can't find = in \"b\": it must be of the form name=value "
            "(quote a value with spaces)");
    refused("FROM a\nWORKDIR\n", "Dockerfile:2: WORKDIR requires at least one argument");
    refused("FROM a\nENV =1\n", "Dockerfile:2: ENV names can not be blank: \"=1\"");
    refused("FROM a\nONBUILD FROM b\n", "Dockerfile:2: ONBUILD: FROM isn't allowed as an ONBUILD trigger");
    struct err err;
    struct dockerfile d;
    assert_int_equal(dockerfile_parse("FROM a\n\0", 8, "f", &d, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "f:2: a zero byte: this is not a text file");
}

static const char *lookup(void *context, const char *name)
{
    static const char *const values[][2] = {
        {"V", "value"},        {"E", ""},       {"S", "two words"},        {"n1", "N"},
        {"P", "a/b/c.tar.gz"}, {"G", "*?\\??"}, {"I", "\xc3\xa9n\xc3\xa9"}};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (str_eq(values[i][0], name))
            return values[i][1];
    return NULL;
}

static void words_expand_as_docker_expands_them(void **state)
{
    static const char *const table[][2] = {
        {"$V", "value"},
        {"${V}s", "values"},
        {"$Vs", ""},
        {"a$n1-b", "aN-b"},
        {"$", "$"},
        {"a$.b", "a$.b"},
        {"\\$V", "$V"},
        {"'$V'", "$V"},
        {"\"$V\"", "value"},
        {"\"\\$V \\\" \\x \\\\\"", "$V \" \\x \\"},
        {"'a\\'b", "a\\b"},
        {"a\\ b", "a b"},
        {"end\\", "end"},
        {"${V:-x}", "value"},
        {"${E:-x}", "x"},
        {"${E-x}", ""},
        {"${U-x}", "x"},
        {"${U:-a b}", "a b"},
        {"${U:-${V}s}", "values"},
        {"${U:-\"}\"}", "}"},
        {"${V:+x}", "x"},
        {"${E:+x}", ""},
        {"${E+x}", "x"},
        {"${U+x}", ""},
        {"${V:?no}", "value"},
        {"$1$@", ""},
        {"\xc3\xa9$V", "\xc3\xa9value"},
        {"${V#v}", "alue"},
        {"${V#x}", "value"},
        {"${P#*/}", "b/c.tar.gz"},
        {"${P##*/}", "c.tar.gz"},
        {"${P%.*}", "a/b/c.tar"},
        {"${P%%.*}", "a/b/c"},
        {"${P%%*}${P##*}${E#*}${U%x}", ""},
        {"${P%*}${P#}", "a/b/c.tar.gza/b/c.tar.gz"},
        {"${P##*b?c}", ".tar.gz"},
        {"${P/\\//-}", "a-b/c.tar.gz"},
        {"${P//\\//-}", "a-b-c.tar.gz"},
        {"${P//[a]/x}", "a/b/c.tar.gz"},
        {"${P/a*r/x}", "x.gz"},
        {"${P/.*}", "a/b/c"},
        {"${P//a}", "/b/c.tr.gz"},
        {"${V/$V/${n1}x}", "Nx"},
        {"${G#\\*}${G#'*'}${G#\"*\"}", "?\\???\\???\\??"},
        {"${G%\\?}", "*?\\?"},
        {"${I#?}${I%?}${I/?/x}", "n\xc3\xa9\xc3\xa9nxn\xc3\xa9"},
        {"${S#* }\"${S%o*}\"", "wordstwo w"},
        {"${V#${V%e}}", "e"},
        {"${P//\\//\\/}", "a\\/b\\/c.tar.gz"},
        {"${P/$G/.}${P//a\\/b/$n1}", "a/b/c.tar.gzN/c.tar.gz"},
        {"${U#()[]{\\}^$.\\*\\?|\\\\}${U/x/y}", ""},
        {"${V:+${n1}}${U:+$V}${U:-\\${V}z}${E:-\\$V:}", "N${Vz}$V:"},
        {"he'll'o\"$V\"'$V'", "hellovalue$V"},
        {"\"a'$V'b\"", "a'value'b"},
        {"a$1x${2}y$*$#$?$-$!", "axy"},
        {"\\\\$V\"\\\\$V\"", "\\value\\value"},
        {"${V:-${U:-x}}${U:-${U2:-${E:-y}}}", "valuey"},
        {"a\\'b\\\"c", "a'b\"c"},
    };
    struct expand x = {.escape = '\\', .lookup = lookup};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_free_ char *got = NULL;
        assert_ok(expand_word(&x, table[i][0], &got, &err), &err);
        if (!str_eq(got, table[i][1]))
            fail_msg("%s gave <%s>, not <%s>", table[i][0], got, table[i][1]);
    }
    static const char *const wrong[][2] = {
        {"'a", "a single quote is not closed"},
        {"\"a", "a double quote is not closed"},
        {"${", "\"${\" without a variable's name"},
        {"${V", "\"${V\": expected } or one of the modifiers :- :+ :? - + ? # ## % %% / //"},
        {"${V:#x}", "\"${V:#x}\": expected } or one of the modifiers :- :+ :? - + ? # ## % %% / //"},
        {"${V:-x", "a \"${\" is not closed"},
        {"${U:?wanted}", "U: wanted"},
        {"${V#x", "a \"${\" is not closed"},
        {"${V/x/y", "a \"${\" is not closed"},
        {"${V=x}", "\"${V=x}\": expected } or one of the modifiers :- :+ :? - + ? # ## % %% / //"},
        {"${V:x}", "\"${V:x}\": expected } or one of the modifiers :- :+ :? - + ? # ## % %% / //"},
        {"${.}", "\"${\" without a variable's name"},
        {"${U:?a $n1 \"b\"}", "U: a N b"},
        {"'a\\'b'", "a single quote is not closed"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char *got;
        assert_true(expand_word(&x, wrong[i][0], &got, &err) < 0);
        assert_string_equal(err.msg, wrong[i][1]);
    }
}

static void words_split_outside_quotes_and_nesting_is_bounded(void **state)
{
    struct expand x = {.escape = '\\', .lookup = lookup};
    struct err err;
    _cleanup_strv_ char **words = NULL;
    assert_ok(expand_words(&x, "a \"b c\" $S \"$S\" ''", &words, &err), &err);
    _cleanup_free_ char *joined = strv_join(words, "|");
    assert_string_equal(joined, "a|b c|two|words|two words|");
    struct str deep = STR_INIT;
    for (int i = 0; i < 10000; i++)
        str_add(&deep, "${U:-");
    char *got;
    assert_int_equal(expand_word(&x, str_get(&deep), &got, &err), -ERR_LIMIT);
    str_free(&deep);
}

static void heredoc_text_keeps_quotes_and_expands_variables(void **state)
{
    struct expand x = {.escape = '\\', .lookup = lookup, .raw = true};
    struct err err;
    _cleanup_free_ char *got = NULL;
    assert_ok(expand_word(&x, "it's \"$V\" \\$V \\\\ \\n \\\n", &got, &err), &err);
    assert_string_equal(got, "it's \"value\" $V \\ n \n");
}

static void patterns_match_as_go_matches(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool deep, match;
    } table[] = {
        {"*.c", "a.c", false, true},       {"*.c", "d/a.c", false, false},    {"d/*.c", "d/a.c", false, true},
        {"a?c", "abc", false, true},       {"a?c", "a/c", false, false},      {"[a-c]x", "bx", false, true},
        {"[^a-c]x", "bx", false, false},   {"[^a]x", "/x", false, false},     {"\\*", "*", false, true},
        {"\\*", "a", false, false},        {"**/x", "x", true, true},         {"**/x", "a/b/x", true, true},
        {"**/x", "a/bx", true, false},     {"a/**", "a/b/c", true, true},     {"a/**/z", "a/z", true, true},
        {"a/**/z", "a/b/c/z", true, true}, {"a/**/z", "a/b/cz", true, false}, {"**", "a/b", true, true},
        {"[]a]", "]", false, false},
    };
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_(pattern_free_p) struct pattern *p = NULL;
        if (pattern_new(table[i].pattern, table[i].deep, &p, &err) < 0) {
            assert_false(table[i].match);
            continue;
        }
        if (pattern_match(p, table[i].name, strlen(table[i].name)) != table[i].match)
            fail_msg("%s and %s: expected %d", table[i].pattern, table[i].name, table[i].match);
    }
    char hostile[2001], name[1000];
    for (int i = 0; i < 2000; i++)
        hostile[i] = i % 2 ? 'a' : '*';
    hostile[2000] = '\0';
    memset(name, 'a', sizeof(name));
    name[sizeof(name) - 1] = 'b';
    _cleanup_(pattern_free_p) struct pattern *p = NULL;
    assert_ok(pattern_new(hostile, true, &p, &err), &err);
    assert_false(pattern_match(p, name, sizeof(name)));
}

static void the_last_matching_ignore_pattern_decides(void **state)
{
    const char text[] = "# comment\n*.log\n!keep.log\n/build\n  tmp/  \n**/*.o\ndocs/*\n!docs/README.md\n";
    static const struct {
        const char *path;
        bool ignored;
    } table[] = {
        {"a.log", true},     {"keep.log", false}, {"d/a.log", false}, {"build", true},
        {"build/x/y", true}, {"tmp/x", true},     {"a/b/c.o", true},  {"docs/README.md", false},
        {"docs/x", true},    {"docs", false},     {"src", false},
    };
    struct ignore *g;
    struct err err;
    assert_ok(ignore_parse(text, strlen(text), &g, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (ignore_matches(g, table[i].path) != table[i].ignored)
            fail_msg("%s: expected %d", table[i].path, table[i].ignored);
    assert_true(ignore_may_except(g, "docs"));
    assert_false(ignore_may_except(g, "tmp"));
    assert_false(ignore_may_except(g, "docs/x"));
    ignore_free(g);
    assert_int_equal(ignore_parse("a\n!\n", 4, &g, &err), -ERR_INVALID);
    assert_string_equal(err.msg, ".dockerignore:2: illegal exclusion pattern: \"!\"");
}

static void paths_are_cleaned(void **state)
{
    static const char *const table[][2] = {{"", "."},        {"/", "/"},      {"a//b/./c", "a/b/c"},
                                           {"../a", "../a"}, {"/../a", "/a"}, {"a/../..", ".."},
                                           {"a/..", "."}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_free_ char *got = path_clean(table[i][0]);
        assert_string_equal(got, table[i][1]);
    }
}

static void each_check_has_a_file_that_fails_it_and_one_that_passes(void **state)
{
    static const struct {
        const char *rule, *wrong, *right;
        int line;
    } table[] = {
        {"ConsistentInstructionCasing", "FROM a\nenv A=1\nENV B=1\n", "from a\nenv A=1\n", 2},
        {"CopyIgnoredFile", "# check=skip=all;experimental=all\nFROM a\nCOPY out.log /\n",
         "FROM a\nCOPY out.log /\n", 3},
        {"CopyIgnoredFile", "# check=experimental=CopyIgnoredFile\nFROM a\nADD out.log /\n",
         "# check=experimental=all\nFROM a\nCOPY --from=b out.log in *.log /x/\n", 3},
        {"DuplicateStageName", "FROM a AS x\nFROM a AS x\n", "FROM a AS x\nFROM a AS y\n", 2},
        {"ExposeInvalidFormat", "FROM a\nEXPOSE 80 1.2.3.4:80:80\n", "FROM a\nEXPOSE 80 $P:1\n", 2},
        {"ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP\n", "FROM a\nEXPOSE 80/udp\n", 2},
        {"FromAsCasing", "FROM a as x\n", "from a as x\n", 1},
        {"FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a\n",
         "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/amd64 a AS my_AMD64_stage\n"
         "FROM --platform=linux/amd64 a AS linux\n",
         1},
        {"FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a AS v8\n",
         "FROM --platform=linux/arm64/v8 a AS arm64-only\n", 1},
        {"InvalidDefaultArgInFrom", "ARG T\nFROM a:$T\n", "ARG T=1\nARG U\nFROM a:$T${U:+-$U}\n", 2},
        {"InvalidDefinitionDescription", "# check=experimental=all\n# bar is no foo\nARG foo\nFROM a\n",
         "# check=experimental=all\n# why\n# foo is it\nARG foo\n# of nothing\n\nFROM a AS b\n# c d\n#\nARG "
         "e\n"
         "# g is one of them\nARG f g\n# something\nRUN x\n# more\nFROM b\n",
         3},
        {"InvalidDefinitionDescription", "# check=experimental=all\n# Base is it\nFROM a AS base\n",
         "# Base is it\nFROM a AS base\n", 3},
        {"JSONArgsRecommended", "FROM a\nCMD x\n", "FROM a\nSHELL [\"x\"]\nCMD x\nENTRYPOINT [\"x\"]\n", 2},
        {"JSONArgsRecommended", "FROM a AS s\nSHELL [\"x\"]\nFROM a\nENTRYPOINT x\n",
         "FROM a AS S\nSHELL [\"x\"]\nFROM s AS t\nCMD x\nFROM t\nENTRYPOINT x\n", 4},
        {"LegacyKeyValueFormat", "FROM a\nENV x y\n", "FROM a\nENV x=y\n", 2},
        {"MaintainerDeprecated", "FROM a\nMAINTAINER x\n", "FROM a\nLABEL maintainer=x\n", 2},
        {"MultipleInstructionsDisallowed", "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n",
         "FROM a\nCMD [\"x\"]\nFROM a\nCMD [\"y\"]\n", 2},
        {"NoEmptyContinuation", "FROM a\nRUN a \\\n\nb\n", "FROM a\nRUN a \\\n# c\nb\n", 4},
        {"RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM a\n", "FROM --platform=$OTHER a\n", 1},
        {"ReservedStageName", "FROM a AS scratch\n", "FROM scratch AS a\n", 1},
        {"SecretsUsedInArgOrEnv", "FROM a\nARG NPM_TOKEN\n", "FROM a\nARG TOKENS TOKEN_FILE MONKEY\n", 2},
        {"StageNameCasing", "FROM a AS Big\n", "FROM a AS small\n", 1},
        {"UndefinedArgInFrom", "ARG A\nFROM $B\n", "ARG A\nFROM --platform=$TARGETPLATFORM $A\n", 2},
        {"UndefinedVar", "FROM scratch\nENV A=$NONE\n", "FROM a\nARG X\nENV A=$HOME$X${NONE:-1}\n", 2},
        {"UndefinedVar", "FROM a\nENV PREFIX=1\nWORKDIR /$PREFX\n", "FROM scratch\nENV A=$PATH\n", 3},
        {"UndefinedVar", "FROM scratch AS s\nARG X\nFROM scratch\nENV A=$X\n",
         "FROM scratch AS s\nARG X\nFROM s AS t\nENV Y=1\nFROM t\nENV A=$X$Y\n", 4},
        {"UndefinedVar", "FROM scratch AS s\nARG LONG\nFROM s\nENV A=$SHORT\n",
         "FROM a AS s\nFROM s\nENV A=$SHORT\n", 4},
        {"WorkdirRelativePath", "FROM a\nWORKDIR x\n", "FROM a\nWORKDIR /x\nWORKDIR y\n", 2},
        {"WorkdirRelativePath", "FROM a AS s\nWORKDIR /x\nFROM a\nWORKDIR y\n",
         "FROM a AS s\nWORKDIR /x\nFROM s\nWORKDIR y\n", 4},
    };
    struct ignore *g;
    struct err err;
    assert_ok(ignore_parse("*.log\n", 6, &g, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        for (int wrong = 0; wrong < 2; wrong++) {
            struct dockerfile d = parsed(wrong ? table[i].wrong : table[i].right);
            struct check_result r;
            assert_ok(check_dockerfile(&d, g, &r, &err), &err);
            int found = 0;
            for (size_t j = 0; j < r.count; j++)
                if (str_eq(r.list[j].rule, table[i].rule)) {
                    found++;
                    assert_int_equal(r.list[j].line, table[i].line);
                }
            if (found != wrong)
                fail_msg("%s: %d times in: %s", table[i].rule, found,
                         wrong ? table[i].wrong : table[i].right);
            check_result_done(&r);
            dockerfile_done(&d);
        }
    ignore_free(g);
}

static void checks_name_what_was_meant(void **state)
{
    static const char *const table[][2] = {
        {"FROM --platform=$BULIDPLATFORM scratch\n",
         "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"},
        {"ARG MY_ARCH=amd64\nFROM --platform=linux/${MYARCH} a\n",
         "FROM argument 'MYARCH' is not declared (did you mean MY_ARCH?)"},
        {"ARG tag=latest\nFROM a:${tag}${version} AS b\n", "FROM argument 'version' is not declared"},
        {"FROM a AS s\nARG DIR_ASSETS=a/\nFROM s\nCOPY $DIR_ASSET .\n",
         "Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)"},
        {"# check=experimental=all\n# x\nARG a b\nFROM a\n",
         "Comment for ARG should follow the format: `# <arg_key> <description>`"},
        {"FROM --platform=${TARGETPLATFORM} a\n", "Setting platform to predefined ${TARGETPLATFORM} in FROM "
                                                  "is redundant as this is the default behavior"},
        {"FROM a AS b\nFROM a AS b\n", "Duplicate stage name \"b\", stage names should be unique"},
        {"FROM a\nENV PATH=$PAHT:/tmp/bin\n", "Usage of undefined variable '$PAHT' (did you mean $PATH?)"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct dockerfile d = parsed(table[i][0]);
        struct check_result r;
        struct err err;
        assert_ok(check_dockerfile(&d, NULL, &r, &err), &err);
        assert_int_equal(r.count, 1);
        assert_string_equal(r.list[0].text, table[i][1]);
        check_result_done(&r);
        dockerfile_done(&d);
    }
}

/* A stage far above is as good as an image from elsewhere: nothing is told of its names. */
static void a_long_chain_of_stages_is_checked_without_end(void **state)
{
    struct str text = STR_INIT;
    str_add(&text, "FROM scratch AS s0\nARG X=1\n");
    for (int i = 1; i < 300; i++)
        str_addf(&text, "FROM s%d AS s%d\nARG A%d\n", i - 1, i, i);
    str_add(&text, "ENV Y=$X\n");
    struct dockerfile d = parsed(str_get(&text));
    struct check_result r;
    struct err err;
    assert_ok(check_dockerfile(&d, NULL, &r, &err), &err);
    assert_int_equal(r.count, 0);
    check_result_done(&r);
    dockerfile_done(&d);
    str_free(&text);
}

static void the_check_directive_skips_and_fails(void **state)
{
    struct check_result r;
    struct err err;
    struct dockerfile d =
        parsed("# check = skips = StageNameCasing , FromAsCasing;error=true\nFROM a as X\nCMD x\n");
    assert_int_equal(check_dockerfile(&d, NULL, &r, &err), -ERR_INVALID);
    assert_string_equal(
        err.msg, "Dockerfile: the check directive: \"skips = StageNameCasing , FromAsCasing\": expected "
                 "skip=NAME,NAME, experimental=NAME,NAME or error=true, parted by ;");
    dockerfile_done(&d);
    d = parsed("# check=skip = StageNameCasing, FromAsCasing; error = true\nFROM a as X\nCMD x\n");
    assert_ok(check_dockerfile(&d, NULL, &r, &err), &err);
    assert_true(r.error);
    assert_int_equal(r.count, 1);
    assert_string_equal(r.list[0].rule, "JSONArgsRecommended");
    check_result_done(&r);
    dockerfile_done(&d);
    d = parsed("# check=skip=all\nFROM a as X\nCMD x\n");
    assert_ok(check_dockerfile(&d, NULL, &r, &err), &err);
    assert_false(r.error);
    assert_int_equal(r.count, 0);
    char *const args[] = {(char *)"A=1", (char *)"BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing;error=1",
                          NULL};
    check_take_argument(&d, args);
    assert_ok(check_dockerfile(&d, NULL, &r, &err), &err);
    assert_true(r.error);
    assert_int_equal(r.count, 2);
    check_result_done(&r);
    dockerfile_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_joined_and_comments_within_them_dropped),
        cmocka_unit_test(the_escape_directive_changes_continuation_and_a_comment_ends_directives),
        cmocka_unit_test(json_and_shell_forms_are_told_apart),
        cmocka_unit_test(heredocs_take_their_lines),
        cmocka_unit_test(mistakes_are_named_with_their_line),
        cmocka_unit_test(words_expand_as_docker_expands_them),
        cmocka_unit_test(words_split_outside_quotes_and_nesting_is_bounded),
        cmocka_unit_test(heredoc_text_keeps_quotes_and_expands_variables),
        cmocka_unit_test(patterns_match_as_go_matches),
        cmocka_unit_test(the_last_matching_ignore_pattern_decides),
        cmocka_unit_test(paths_are_cleaned),
        cmocka_unit_test(each_check_has_a_file_that_fails_it_and_one_that_passes),
        cmocka_unit_test(checks_name_what_was_meant),
        cmocka_unit_test(a_long_chain_of_stages_is_checked_without_end),
        cmocka_unit_test(the_check_directive_skips_and_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
