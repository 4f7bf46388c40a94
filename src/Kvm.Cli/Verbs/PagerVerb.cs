using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Vmm.Snapshots.Lazy;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp pager</c>: what a lazy restore starts. Nobody types it.</summary>
internal sealed class PagerVerb : Verb
{
    public PagerVerb()
        : base("pager", "Brings the memory of a machine that was restored lazily.") => Hidden = true;

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        // All its paths are from the root on; the folder it was started in is not held.
        Directory.SetCurrentDirectory("/");
        return Pager.Run();
    }
}
