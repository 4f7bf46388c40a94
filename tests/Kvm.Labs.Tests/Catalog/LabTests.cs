using Kvm.Labs.Catalog;

namespace Kvm.Labs.Tests.Catalog;

/// <summary>Every lab's solution passes, and every source a student begins with does not, in the way its text says.</summary>
public sealed class LabTests
{
    /// <summary>What the checks say of the sources that students begin with: one sentence of each that its text quotes.</summary>
    private static readonly Dictionary<int, string> _beginnings = new()
    {
        [1] = "it shows 'H'",
        [2] = "seen: in 0x510 gives 0x78 (1 byte)",
        [3] = "CR0 is 0x10",
        [4] = "CR0 is 0x11",
        [5] = "no entry of the shadow was dropped",
        [6] = "0xff is there",
        [7] = "halted at",
        [8] = "it shows 'D'",
        [9] = "0x0 is there",
        [10] = "it wrote 1",
        [11] = "there was no such round",
        [12] = "56 came",
        [13] = "there is no number yet",
        [14] = "waits at the door: the lock is held",
    };

    public static TheoryData<int, string> OnEngines
    {
        get
        {
            var data = new TheoryData<int, string>();
            foreach (var lab in LabCatalog.All)
            {
                data.Add(lab.Number, "soft");
                data.Add(lab.Number, "kvm");
            }

            return data;
        }
    }

    [SkippableTheory]
    [MemberData(nameof(OnEngines))]
    public void The_solution_passes(int number, string engine)
    {
        RequireEngine(engine);
        var lab = LabCatalog.Find($"{number}");
        var report = lab.Check(lab.Solution, Options(engine));
        report.Lines.Where(line => line.Problem is not null).Should().BeEmpty();
        report.Lines.Should().NotBeEmpty();
        report.Passed.Should().BeTrue();
    }

    [SkippableTheory]
    [MemberData(nameof(OnEngines))]
    public void The_source_a_student_begins_with_fails_as_the_text_says(int number, string engine)
    {
        RequireEngine(engine);
        Skip.If(number == 5 && engine == "kvm", "that part of lab 5 is the software engine's");
        var lab = LabCatalog.Find($"{number}");
        var report = lab.Check(lab.Source, Options(engine));
        report.Passed.Should().BeFalse();
        string problems = string.Join("\n", report.Lines.Select(line => line.Problem));
        problems.Should().Contain(_beginnings[number]);
    }

    [SkippableFact]
    public void Both_engines_tell_the_same_exits_from_the_same_lines()
    {
        RequireEngine("kvm");
        // A KVM may tell of the elements of lab 2's string at once.
        foreach (var lab in LabCatalog.All.Where(lab => lab.Number != 2))
            Exits(lab, "kvm").Should().Equal(Exits(lab, "soft"), "of lab {0}", lab.Number);
    }

    /// <summary>What came out, but for instructions that were completed for KVM.</summary>
    private static IEnumerable<string> Exits(Lab lab, string engine) => lab.Run(lab.Solution, Options(engine)).Runs.Take(1)
        .SelectMany(run => run.Exits).Where(exit => exit.Reason != "KVM_EXIT_INTERNAL_ERROR").Select(exit => $"{exit.Reason} line {exit.Line}: {exit.What}");

    private static LabOptions Options(string engine) => new() { Engine = engine, Timeout = TimeSpan.FromSeconds(60) };

    private static void RequireEngine(string engine) => Skip.If(engine == "kvm" && !File.Exists("/dev/kvm"), "this host has no /dev/kvm");
}
