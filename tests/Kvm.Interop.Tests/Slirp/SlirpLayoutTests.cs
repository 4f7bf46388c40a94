using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using Kvm.Interop.Slirp;
using Kvm.Interop.Tests.Layout;

namespace Kvm.Interop.Tests.Slirp;

/// <summary>libslirp's structures and numbers against its header.</summary>
public sealed class SlirpLayoutTests
{
    [SkippableFact]
    public void Structures_and_flags_are_the_headers()
    {
        Skip.IfNot(File.Exists("/usr/include/slirp/libslirp.h"), "slirp/libslirp.h is not installed (libslirp-dev)");
        CProgram.SkipUnlessPossible();
        var expected = new Dictionary<string, ulong>();
        var lines = new List<string>();
        foreach ((Type type, string c) in ((Type, string)[])[(typeof(SlirpConfig), "SlirpConfig"), (typeof(SlirpCb), "SlirpCb")])
        {
            expected[c] = (ulong)ManagedLayout.SizeOf(type);
            lines.Add($"P({c}, sizeof({c}))");
            foreach (FieldInfo field in ManagedLayout.FieldsOf(type))
            {
                string member = ManagedLayout.ToC(field.Name);
                expected[$"{c}.{member}"] = (ulong)ManagedLayout.OffsetOf(field);
                lines.Add($"P({c}.{member}, offsetof({c}, {member}))");
            }
        }

        foreach ((string name, int value) in ((string, int)[])
            [("SLIRP_POLL_IN", LibSlirp.PollIn), ("SLIRP_POLL_OUT", LibSlirp.PollOut), ("SLIRP_POLL_PRI", LibSlirp.PollPri), ("SLIRP_POLL_ERR", LibSlirp.PollErr), ("SLIRP_POLL_HUP", LibSlirp.PollHup)])
        {
            expected[name] = (ulong)value;
            lines.Add($"P({name}, {name})");
        }

        Run(lines).Should().Equal(expected);
    }

    private static Dictionary<string, ulong> Run(List<string> lines)
    {
        string folder = Directory.CreateTempSubdirectory("slirp-layout-").FullName;
        try
        {
            string source = Path.Combine(folder, "layout.c"), program = Path.Combine(folder, "layout");
            File.WriteAllText(source, "#include <stdio.h>\n#include <stddef.h>\n#include <slirp/libslirp.h>\n#define P(key, value) printf(#key \" %llu\\n\", (unsigned long long)(value));\n"
                + $"int main(void)\n{{\n{string.Join('\n', lines)}\nreturn 0;\n}}\n");
            Start("gcc", "-o", program, source);
            return Start(program).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' '))
                .ToDictionary(p => p[0], p => ulong.Parse(p[1], CultureInfo.InvariantCulture));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Start(string file, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        process.ExitCode.Should().Be(0);
        return output;
    }
}
