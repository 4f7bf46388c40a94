using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

public class JobFileTests
{
    private const string Header = "name,arrival,length,priority,weight";

    private static IReadOnlyList<SimulatedJob> Read(string text) => JobFile.Read(new StringReader(text));

    [Fact]
    public void Every_column_reaches_its_job()
    {
        var job = Read("""
            # what follows is one job
            weight,name,length,arrival,priority,vcpus,memory,burst,halt,deadline,class,cap,reservation,disk,iops,network,affinity,node

            2.5,"a ""web"" server, old",10.5,3,-7,4,2G,1,0.25,100,web,1.5,0.5,100M,1000,1K,"0,2-3",1
            """).Should().ContainSingle().Subject;
        job.Spec.Affinity!.ToString().Should().Be("0,2-3");
        job.Should().Be(new SimulatedJob
        {
            Name = "a \"web\" server, old",
            Arrival = 3 * Ms,
            Length = 10_500_000,
            Burst = Ms,
            Halt = 250_000,
            Deadline = 100 * Ms,
            Class = "web",
            Spec = new JobSpec { Priority = -7, Weight = 2.5, Vcpus = 4, Cap = 1.5, Reservation = 0.5, Affinity = job.Spec.Affinity, Node = 1, Needs = new ResourceVector(0, 2L << 30, 100 << 20, 1000, 1024) },
        });
    }

    [Fact]
    public void Line_ends_of_Windows_a_byte_order_mark_and_empty_optional_fields_are_understood()
    {
        var jobs = Read($"\uFEFF{Header},vcpus,memory\r\nA,0,1,0,1,,\r\nB,0,inf,0,1,2,\r\n");
        jobs.Select(job => (job.Name, job.Spec.Vcpus, job.Length)).Should().Equal(("A", 1, Ms), ("B", 2, SimulatedJob.Endless));
    }

    [Theory]
    [InlineData("", 1, null)]
    [InlineData("# nothing\n", 1, null)]
    [InlineData("name,arrival,length,weight\n", 1, "priority")]
    [InlineData(Header + ",name\n", 1, "name")]
    [InlineData(Header + ",size\n", 1, "size")]
    [InlineData(Header + "\n\nA,0,1,0\n", 3, "weight")]
    [InlineData(Header + "\nA,0,1,0,1,2\n", 2, null)]
    [InlineData(Header + "\nA,0,1,0,1,\n", 2, null)]
    [InlineData(Header + "\n,0,1,0,1\n", 2, "name")]
    [InlineData(Header + "\nA,,1,0,1\n", 2, "arrival")]
    [InlineData(Header + "\nA,x,1,0,1\n", 2, "arrival")]
    [InlineData(Header + "\nA,0,0,0,1\n", 2, "length")]
    [InlineData(Header + "\nA,0,-1,0,1\n", 2, "length")]
    [InlineData(Header + "\nA,0,1e300,0,1\n", 2, "length")]
    [InlineData(Header + "\nA,0,99999999999999999999999999999999999,0,1\n", 2, "length")]
    [InlineData(Header + "\nA,0,1,1.5,1\n", 2, "priority")]
    [InlineData(Header + "\nA,0,1,9999999,1\n", 2, "priority")]
    [InlineData(Header + "\nA,0,1,0,0\n", 2, "weight")]
    [InlineData(Header + "\nA,0,1,0,-1\n", 2, "weight")]
    [InlineData(Header + "\nA,0,1,0,NaN\n", 2, "weight")]
    [InlineData(Header + "\nA,0,1,0,Infinity\n", 2, "weight")]
    [InlineData(Header + ",vcpus\nA,0,1,0,1,0\n", 2, "vcpus")]
    [InlineData(Header + ",memory\nA,0,1,0,1,much\n", 2, "memory")]
    [InlineData(Header + ",affinity\nA,0,1,0,1,x\n", 2, "affinity")]
    [InlineData(Header + ",affinity\nA,0,1,0,1,99999\n", 2, "affinity")]
    [InlineData(Header + "\n\"A,0,1,0,1\n", 2, null)]
    [InlineData(Header + "\n\"A\"x,0,1,0,1\n", 2, null)]
    public void What_is_wrong_is_named_by_line_and_column(string text, int line, string? column)
    {
        var error = FluentActions.Invoking(() => Read(text)).Should().Throw<JobFileException>().Which;
        (error.Line, error.Column).Should().Be((line, column));
    }

    [Fact]
    public void A_line_that_does_not_end_is_refused() =>
        FluentActions.Invoking(() => Read(Header + "\n" + new string('x', 5000))).Should().Throw<JobFileException>().WithMessage("line 2: has more than 4096 characters");

    [Fact]
    public void Random_text_is_read_or_refused_and_nothing_else()
    {
        var random = new Random(5);
        const string characters = ",,,,\n\n\"0123456789.-eEinfAB# KMG\r";
        for (int i = 0; i < 5000; i++)
        {
            string text = Header + "\n" + string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => characters[random.Next(characters.Length)]));
            try
            {
                Read(text).All(job => job.Length > 0 && job.Name.Length > 0).Should().BeTrue();
            }
            catch (JobFileException e)
            {
                e.Line.Should().BeGreaterThan(1);
            }
        }
    }
}
