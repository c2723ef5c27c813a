#include "unit.h"

#include "bakery/preprocess.h"

/* --- A context of a few files in memory --- */

static const char *const FILES[][2] = {
    {"common/base.df", "RUN one\nINCLUDE more.df\n"},
    {"common/more.df", "# syntax=drover/1\nENV more=$V\n"},
    {"common/wrong.df", "ENV a=1\n\nRUNN x\n"},
    {"self.df", "INCLUDE self.df\n"},
    {"a.df", "INCLUDE b.df\n"},
    {"b.df", "INCLUDE Dockerfile\n"},
    {"open.df", "IF 1\nENV a=1\n"},
    {"tick.df", "# escape=`\nENV a=1\n"},
};

static int read_file(void *context, const char *path, struct str *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(FILES); i++)
        if (str_eq(FILES[i][0], path)) {
            str_add(ret, FILES[i][1]);
            return 0;
        }
    return err_set(err, ERR_NOT_FOUND, "no %s", path);
}

static int made(const char *body, char *const *args, struct df_text *ret, struct err *err)
{
    struct platform amd = {.os = (char *)"linux", .architecture = (char *)"amd64"};
    struct platform arm = {.os = (char *)"linux", .architecture = (char *)"arm", .variant = (char *)"v7"};
    const struct preprocess_options o = {.name = "Dockerfile",
                                         .build_args = args,
                                         .target_platform = &arm,
                                         .build_platform = &amd,
                                         .read = read_file};
    _cleanup_free_ char *text = str_printf("# syntax=drover/1\n%s", body);
    return preprocess(text, strlen(text), &o, ret, err);
}

static void gives(const char *body, const char *expected)
{
    char *const args[] = {(char *)"GIVEN=yes", (char *)"LIST=x y", (char *)"V=1.2.3", NULL};
    struct df_text t;
    struct err err;
    assert_ok(made(body, args, &t, &err), &err);
    if (!str_eq(str_get(&t.text), expected))
        fail_msg("%s gave\n%s\nnot\n%s", body, str_get(&t.text), expected);
    df_text_done(&t);
}

static void refused(const char *body, const char *message)
{
    struct df_text t;
    struct dockerfile d;
    struct err err = {0};
    int r = made(body, NULL, &t, &err);
    if (r == 0) {
        r = dockerfile_parse_text(&t, "Dockerfile", &d, &err);
        df_text_done(&t);
    }
    if (r >= 0)
        fail_msg("accepted: %s", body);
    assert_string_equal(err.msg, message);
}

static void a_plain_file_stays_plain(void **state)
{
    assert_false(preprocess_wanted("FROM a\n", 7));
    const char other[] = "# syntax=docker/dockerfile:1\nFROM a\n",
               late[] = "# x\n# syntax=drover/1\nFROM a\n";
    assert_false(preprocess_wanted(other, strlen(other)));
    assert_false(preprocess_wanted(late, strlen(late)));
    const char ours[] = "# escape=`\n#syntax = drover/1\nFROM a\n";
    assert_true(preprocess_wanted(ours, strlen(ours)));
    const char program[] = "#!/usr/bin/env build\n# syntax=drover/1\nFROM a\n";
    assert_true(preprocess_wanted(program, strlen(program)));
    struct dockerfile d;
    struct err err;
    const char words[] = "FROM a\nIF x\nENDIF\n";
    assert_true(dockerfile_parse(words, strlen(words), "Dockerfile", &d, &err) < 0);
    assert_string_equal(err.msg, "Dockerfile:2: IF is for files that begin with \"# syntax=drover/1\"");
    /* What uses none of the words comes out letter for letter. */
    const char text[] =
        "FROM a\n# c $x\n\nRUN echo $V \\\n# in it\n  ${V#1}\nCOPY <<E /x\n$V \\$V\nE\nCMD [\"$HOME\"]\n";
    gives(text, "FROM a\n# c $x\n\nRUN echo $V \\\n\n  ${V#1}\nCOPY <<E /x\n$V \\$V\nE\nCMD [\"$HOME\"]\n");
}

static void branches_are_taken_by_arguments_and_platform(void **state)
{
    static const struct {
        const char *condition;
        bool yes;
    } table[] = {
        {"$GIVEN == yes", true},
        {"$GIVEN==yes", true},
        {"\"$GIVEN\" != 'yes'", false},
        {"$GIVEN", true},
        {"$EMPTY", false},
        {"0 || false", false},
        {"!$EMPTY", true},
        {"! defined NONE && defined GIVEN", true},
        {"defined(EMPTY)", true},
        {"defined TARGETARCH", true},
        {"$TARGETPLATFORM =~ linux/arm/*", true},
        {"$TARGETPLATFORM !~ linux/*", true},
        {"$BUILDARCH == amd64 && $TARGETVARIANT == v7", true},
        {"$GIVEN == no || $GIVEN == yes && $EMPTY == x", false},
        {"($GIVEN == yes || $GIVEN == no) && !($EMPTY)", true},
        {"${V%%.*} == 1", true},
        {"${V#*.} =~ [0-9].?", true},
        {"${NONE:-a && b} == 'a && b'", true},
        {"\"a)\" == a\\)", true},
        {"$DEFAULT == from-default", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char head[] = "ARG GIVEN EMPTY= V NONE\nARG DEFAULT=from-default\n";
        _cleanup_free_ char *body =
            str_printf("%sFROM a\nif %s\nENV yes=1\nElse\nENV no=1\nENDIF\n", head, table[i].condition);
        _cleanup_free_ char *expected = str_printf("%sFROM a\nENV %s=1\n", head, table[i].yes ? "yes" : "no");
        gives(body, expected);
    }
    gives("ARG V\nIF $V == 1\nFROM a\nELIF $V =~ 1.*\nFROM b\nELIF ${V:?}\nFROM c\nELSE\nFROM d\nENDIF\n",
          "ARG V\nFROM b\n");
    gives("FROM a\nARG V\nENV E=${V}x\nIF $E == 1.2.3x\nIF 0\nELSE\nRUN <<X\nENDIF\nX\nENDIF\nENDIF\n",
          "FROM a\nARG V\nENV E=${V}x\nRUN <<X\nENDIF\nX\n");
}

static void loops_write_their_body_for_each_word(void **state)
{
    gives("FROM a\nFOR i IN one \"two words\" three\nENV n_$i=${i}\nENDFOR\n",
          "FROM a\nENV n_one=one\nENV n_two\\ words=two\\ words\nENV n_three=three\n");
    gives("FROM a\nFOR x IN a b\nFOR y IN 1 2\nRUN echo ${x}$y \"${x/a/z}\" '$x' \\$x $z\nENDFOR\nENDFOR\n",
          "FROM a\nRUN echo a1 \"z\" 'a' \\$x $z\nRUN echo a2 \"z\" 'a' \\$x $z\nRUN echo b1 \"b\" 'b' \\$x "
          "$z\nRUN echo b2 \"b\" 'b' \\$x $z\n");
    gives(
        "ARG LIST\nFOR i IN $LIST\nFROM b AS s-$i\nCOPY --from=$i a$i /\nCMD [\"run\", \"$i\"]\nRUN "
        "<<E\n$i\nE\nRUN <<'E'\n$i\nE\nENDFOR\n",
        "ARG LIST\nFROM b AS s-x\nCOPY --from=x ax /\nCMD [\"run\", \"x\"]\nRUN <<E\nx\nE\nRUN <<'E'\n$i\nE\n"
        "FROM b AS s-y\nCOPY --from=y ay /\nCMD [\"run\", \"y\"]\nRUN <<E\ny\nE\nRUN <<'E'\n$i\nE\n");
    gives("FROM a\nFOR i IN\nRUN never\nENDFOR\n", "FROM a\n");
}

static void what_other_builders_do_not_expand_is_expanded(void **state)
{
    gives("ARG V\nFROM b:${V%.*}\nARG V\nARG P=/a/b\nENV A=${V#1.} B=\"${P##*/}\" C=$V D=${BASE#x}\nCMD "
          "[\"v\", \"$V\", \"${V%.*}\"]\n"
          "RUN --mount=type=cache,target=$P echo ${V%.*}\nCOPY --from=s${V%%.*} x /${P##*/}\nONBUILD ENV "
          "Z=${V#1.}\n",
          "ARG V\nFROM b:1.2\nARG V\nARG P=/a/b\nENV A=2.3 B=\"b\" C=$V D=${BASE#x}\nCMD [\"v\", \"1.2.3\", "
          "\"1.2\"]\n"
          "RUN --mount=type=cache,target=/a/b echo ${V%.*}\nCOPY --from=s1 x /b\nONBUILD ENV Z=2.3\n");
    /* Values are written so that they are read as they are. */
    gives("FROM a\nARG Q='a \"b\" $c \\\\d'\nENV A=${Q#x} B=\"${Q#x}\" C='${Q#x}'\nCMD [\"${Q#x}\"]\n",
          "FROM a\nARG Q='a \"b\" $c \\\\d'\nENV A=a\\ \\\"b\\\"\\ \\$c\\ \\\\\\\\d B=\"a \\\"b\\\" \\$c "
          "\\\\\\\\d\" C='${Q#x}'\n"
          "CMD [\"a \\\"b\\\" $c \\\\\\\\d\"]\n");
}

static void included_files_stand_in_place(void **state)
{
    gives("FROM a\nARG V\nARG DIR=common\nINCLUDE $DIR/base.df\nRUN end\n",
          "FROM a\nARG V\nARG DIR=common\nRUN one\nENV more=$V\nRUN end\n");
    refused("FROM a\nINCLUDE common/wrong.df\n",
            "common/wrong.df:3: unknown instruction: RUNN (did you mean RUN?)");
    refused("FROM a\n\nINCLUDE none.df\n", "Dockerfile:4: INCLUDE: none.df is not in the build context");
    refused("INCLUDE ../x\n", "Dockerfile:2: INCLUDE: forbidden path outside the build context: ../x");
    refused("INCLUDE self.df\n", "Dockerfile:2: INCLUDE: self.df:1: INCLUDE: the includes go in a circle: "
                                 "Dockerfile -> self.df -> self.df");
    refused("INCLUDE a.df\n",
            "Dockerfile:2: INCLUDE: a.df:1: INCLUDE: b.df:1: INCLUDE: the includes go in a circle: "
            "Dockerfile -> a.df -> b.df -> Dockerfile");
    refused("INCLUDE open.df\n",
            "Dockerfile:2: INCLUDE: open.df:1: IF: expected an ENDIF before the file's end");
    refused("INCLUDE tick.df\n",
            "Dockerfile:2: INCLUDE: tick.df:1: its escape character is `, and that of the file "
            "that includes it \\");
    refused("INCLUDE a b\n", "Dockerfile:2: INCLUDE: expected one path");
    struct df_text t;
    struct dockerfile d;
    struct err err;
    assert_ok(made("FROM a\nINCLUDE common/base.df\nRUN last\n", NULL, &t, &err), &err);
    assert_ok(dockerfile_parse_text(&t, "Dockerfile", &d, &err), &err);
    df_text_done(&t);
    static const struct {
        const char *file;
        int line;
    } places[] = {{"Dockerfile", 2}, {"common/base.df", 1}, {"common/more.df", 2}, {"Dockerfile", 4}};
    assert_int_equal(d.step_count, ARRAY_SIZE(places));
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        assert_string_equal(d.steps[i].file, places[i].file);
        assert_int_equal(d.steps[i].line, places[i].line);
    }
    dockerfile_done(&d);
}

static void mistakes_are_named_with_what_was_expected(void **state)
{
    refused("FROM a\nENDIF\n", "Dockerfile:3: ENDIF: expected an IF before it");
    refused("FROM a\nELSE\n", "Dockerfile:3: ELSE: expected an IF before it that it belongs to");
    refused("IF 1\nELSE\nELIF 1\nENDIF\n", "Dockerfile:4: ELIF: expected an IF before it that it belongs to");
    refused("IF 1\nFOR i IN a\nENDIF\nENDFOR\n", "Dockerfile:4: ENDIF: expected an IF before it");
    refused("FOR i IN a\nRUN x\n", "Dockerfile:2: FOR: expected an ENDFOR before the file's end");
    refused("IF\nENDIF\n", "Dockerfile:2: IF: expected a condition");
    refused("IF 1\nELSE IF 2\nENDIF\n",
            "Dockerfile:3: ELSE: expected nothing behind it, and there is \"IF 2\"");
    refused("IF a ==\nENDIF\n", "Dockerfile:2: IF: expected a value at the end");
    refused("IF a b\nENDIF\n", "Dockerfile:2: IF: expected && or || at \"b\"");
    refused("IF (a == b\nENDIF\n", "Dockerfile:2: IF: expected ) at \"\"");
    refused("IF defined\nENDIF\n", "Dockerfile:2: IF: expected a name after \"defined\"");
    refused("IF a =~ [\nENDIF\n", "Dockerfile:2: IF: syntax error in pattern \"[\"");
    refused("IF ${a\nENDIF\n",
            "Dockerfile:2: IF: \"${a\": expected } or one of the modifiers :- :+ :? - + ? # ## % %% / //");
    refused(
        "FROM a\nENV E=$BASE\nIF $E\nENDIF\n",
        "Dockerfile:4: IF: $E: a value in it comes from the base image, which is not known before the build");
    refused("FOR 1 IN a\nENDFOR\n", "Dockerfile:2: FOR: expected FOR name IN words...");
    refused("FOR i IN a\nFOR i IN b\nENDFOR\nENDFOR\n",
            "Dockerfile:3: FOR: there is a FOR i around it already");
    refused("FROM a\nFOR i IN \"a b\"\nCOPY $i /\nENDFOR\n",
            "Dockerfile:4: the value of i has white space in it, which cannot stand here");
    refused("FROM a\nFOR i IN x\nUSER $i\nRUNN $i\nENDFOR\n",
            "Dockerfile:5: unknown instruction: RUNN (did you mean RUN?)");
    refused("FROM a\nRUN <<E\nx\n", "Dockerfile:3: RUN: the heredoc \"E\" is not ended by a line \"E\"");
    refused("TARGET a b\nFROM x\n", "Dockerfile:2: TARGET: expected TARGET name: stage...");
    refused("TARGET a:\nFROM x\n", "Dockerfile:2: TARGET: expected a stage or another target behind \"a:\"");
    refused("TARGET a: b\nTARGET b: c\nTARGET c: a\nFROM x\n",
            "Dockerfile:2: TARGET: a: b: c: it goes in a circle, or more "
            "than 16 deep");
    refused("TARGET a: b\nTARGET A: b\nFROM x\n",
            "Dockerfile:3: TARGET: there is a target A already, at Dockerfile:2");
    refused("TARGET a: b=\nFROM x\n", "Dockerfile:2: TARGET: \"b=\": expected an image's name behind =");
    struct df_text t;
    struct err err;
    assert_true(made("FROM a\n\n\x01"
                     "\n",
                     NULL, &t, &err) == 0);
    df_text_done(&t);
}

static void targets_are_told_at_the_end(void **state)
{
    gives(
        "ARG V\nTARGET all: web=shop/web:$V tools\nFROM a AS web\nFROM b AS api\nTARGET tools: api\n",
        "ARG V\nFROM a AS web\nFROM b AS api\n# TARGET all: web=shop/web:1.2.3 tools\n# TARGET tools: api\n");
}

static void what_grows_is_bounded(void **state)
{
    struct str body = STR_INIT;
    str_add(&body, "FROM a\nFOR i IN");
    for (int i = 0; i <= PREPROCESS_MAX_LOOP; i++)
        str_add(&body, " x");
    str_add(&body, "\nRUN y\nENDFOR\n");
    refused(str_get(&body), "Dockerfile:3: FOR: more than 1000 times");
    str_clear(&body);
    str_add(&body, "FROM a\n");
    for (int i = 0; i < 10; i++) {
        str_addf(&body, "FOR v%d IN", i);
        for (int j = 0; j < 100; j++)
            str_add(&body, " x");
        str_add(&body, "\n");
    }
    for (int i = 0; i < 10; i++)
        str_add(&body, "ENDFOR\n");
    refused(str_get(&body), "Dockerfile:12: FOR: more than 100000 steps in loops and includes");
    str_clear(&body);
    for (int i = 0; i <= PREPROCESS_MAX_DEPTH; i++)
        str_add(&body, "IF 1\n");
    refused(str_get(&body), "Dockerfile:18: IF: blocks nested more than 16 deep");
    str_clear(&body);
    str_add(&body, "FROM a\nFOR i IN");
    for (int i = 0; i < 1000; i++)
        str_addf(&body, " %d", i);
    str_add(&body, "\nRUN ");
    for (int i = 0; i < 10000; i++)
        str_addc(&body, 'x');
    str_add(&body, "\nENDFOR\n");
    refused(str_get(&body), "Dockerfile:4: what comes of the file is larger than 4194304 bytes");
    str_clear(&body);
    str_add(&body, "IF ");
    for (int i = 0; i < 100; i++)
        str_add(&body, "(");
    str_add(&body, "\nENDIF\n");
    refused(str_get(&body), "Dockerfile:2: IF: a condition nested more than 64 deep");
    str_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_file_stays_plain),
        cmocka_unit_test(branches_are_taken_by_arguments_and_platform),
        cmocka_unit_test(loops_write_their_body_for_each_word),
        cmocka_unit_test(what_other_builders_do_not_expand_is_expanded),
        cmocka_unit_test(included_files_stand_in_place),
        cmocka_unit_test(mistakes_are_named_with_what_was_expected),
        cmocka_unit_test(targets_are_told_at_the_end),
        cmocka_unit_test(what_grows_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
